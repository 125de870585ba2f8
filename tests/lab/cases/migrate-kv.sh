# lab: hosts=1 mem=1536 cpus=2 data=1536 timeout=2400 tags=long
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A paged Linux guest with memcached in it moves back and forth between two
# places, 20 times, while a client in the guest sets and reads values that it
# knows. Each VMM has half of the RAM as its budget. No key is lost, no value
# wrong, and arriving pages nothing in or out.

. ./memory.sh
MOVES=20
VALUES_MIB=128
data_mount
truncate -s 1M "$DATA/disk.raw"
l2_initrd guest <<'GUEST'
# Who memcached runs as.
mkdir -p /etc
echo root:x:0:0::/root:/bin/sh >/etc/passwd
memcached -u root -l 127.0.0.1 -m 320 -t 2 -M &
cache=$!
kvcheck $(echo "$l2_kvcheck" | tr , ' ') &
test=$!
# The host writes "stop" to the disk when the guest has moved often enough.
until [ "$(dd if=/dev/vda bs=4 count=1 2>/dev/null)" = stop ]; do
    kill -0 $test $cache || exit 1
    sleep 1
    echo 1 >/proc/sys/vm/drop_caches
done
kill $test
wait $test || exit 1
dmesg | grep -E 'Oops|BUG:|soft lockup' && exit 1
exit 0
GUEST

start() {
    local name=$1
    shift
    memory_vmm "$name"
    l2_initrd_name=guest l2_start "$name" 6.12 \
        "l2_kvcheck=mib=$VALUES_MIB,value=32768,hot=10,sets=20" \
        "${memory_args[@]}" \
        -drive "file=$DATA/disk.raw,format=raw,if=none,id=disk" \
        -device virtio-blk-pci,drive=disk "$@"
    rss_watch "$name"
}

# One way by a socket, the other by TCP.
address() {
    if [ $(($1 % 2)) = 0 ]; then
        echo "tcp:127.0.0.1:$((4400 + $1))"
    else
        echo "unix:/tmp/vmm$1.sock"
    fi
}

start vmm0
l2_line vmm0 '^KV filled' 300
for turn in $(seq $MOVES); do
    from=vmm$((turn - 1))
    to=vmm$turn
    start "$to" -incoming "$(address "$turn")"
    memory_move "$from" "$to" "$(address "$turn")"
    rm "$DATA/$from.swap" 2>/dev/null || true
    l2_line "$to" '^KV beat' 30
done
printf stop | dd of="$DATA/disk.raw" conv=notrunc status=none
l2_finish "$to" 180
for turn in $(seq 0 $MOVES); do
    memory_rss "vmm$turn"
done
grep -a '^KV done' "$RESULTS/$to.serial" | tr -d '\r' | sed 's/^/# /'
