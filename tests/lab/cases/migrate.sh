# lab: hosts=1 mem=1536 cpus=2 data=1536 timeout=900 tags=ci
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A paged Linux guest moves twice while its memory test runs: to a second VMM
# over a unix socket, from there to a third over tcp. Every VMM has half of the
# RAM as its budget. The guest goes on, with all of its devices, and finds no
# wrong byte; arriving pages nothing in or out.

. ./memory.sh
# The last block of the disk is the host's: "stop" there ends the test.
BLOCK=65536
BLOCKS=256
data_mount
truncate -s $((BLOCK * BLOCKS)) "$DATA/disk.raw"
l2_initrd guest <<'GUEST'
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
memcheck $(echo "$l2_memcheck" | tr , ' ') &
test=$!
turn=0
block=0
while kill -0 $test 2>/dev/null; do
    dd if=/dev/urandom of=/tmp/block bs=64k count=1 2>/dev/null
    dd if=/tmp/block of=/dev/vda bs=64k seek=$block conv=fsync \
        2>/dev/null
    echo 1 >/proc/sys/vm/drop_caches
    dd if=/dev/vda bs=64k skip=$block count=1 2>/dev/null |
        cmp - /tmp/block || echo "L2 WRONG disk, turn $turn"
    [ "$(dd if=/dev/vda bs=64k skip=255 2>/dev/null | head -c 4)" = stop ] &&
        kill $test
    turn=$((turn + 1))
    block=$((turn % 255))
    sleep 1
done
wait $test || exit 1
[ "$(ping -c 3 -W 5 10.0.2.2 | grep -c 'bytes from')" -gt 0 ] ||
    echo "L2 WRONG network"
[ "$(dd if=/dev/hwrng bs=16 count=1 2>/dev/null | wc -c)" = 16 ] ||
    echo "L2 WRONG rng"
dmesg | grep -E 'Oops|BUG:|soft lockup' && exit 1
echo "L2 turns $turn"
GUEST

# start NAME [ARGUMENT...]
start() {
    local name=$1
    shift
    memory_vmm "$name"
    l2_initrd_name=guest l2_start "$name" 6.12 \
        "l2_memcheck=mib=$TEST_MIB,hot=32,rate=500,secs=180,jobs=2" \
        "${memory_args[@]}" \
        -drive "file=$DATA/disk.raw,format=raw,if=none,id=disk" \
        -device virtio-blk-pci,drive=disk \
        -netdev user,id=net -device virtio-net-pci,netdev=net \
        -device virtio-rng-pci "$@"
    rss_watch "$name"
}

start first
l2_line first '^MEMCHECK filled' 180
sleep 3
start second -incoming unix:/tmp/second.sock
memory_move first second unix:/tmp/second.sock
l2_line second '^MEMCHECK beat' 20
start third -incoming tcp:127.0.0.1:4444
memory_move second third tcp:127.0.0.1:4444
l2_line third '^MEMCHECK beat' 20
sleep 5
printf stop | dd of="$DATA/disk.raw" bs=$BLOCK seek=$((BLOCKS - 1)) \
    conv=notrunc status=none
l2_finish third 60
for name in first second third; do
    memory_report $name
    memory_rss $name
    if grep -a 'L2 WRONG' "$RESULTS/$name.serial"; then
        fail "$name: see above"
    fi
done
