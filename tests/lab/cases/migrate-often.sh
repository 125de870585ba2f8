# lab: hosts=1 mem=1536 cpus=2 data=1536 timeout=1800 tags=long
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A small paged Linux guest moves from VMM to VMM, again and again, while its
# memory test runs in both of its CPUs: for faults that few arrivals show. Each
# VMM has half of the RAM as its budget.

. ./memory.sh
MOVES=24
RAM_MIB=256
BUDGET_MIB=128
data_mount
truncate -s 1M "$DATA/disk.raw"
l2_initrd guest <<'GUEST'
memcheck $(echo "$l2_memcheck" | tr , ' ') &
test=$!
# The host writes "stop" to the disk when the guest has moved often enough.
until [ "$(dd if=/dev/vda bs=4 count=1 2>/dev/null)" = stop ]; do
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
        "l2_memcheck=mib=128,hot=16,rate=500,secs=3600,jobs=2" \
        "${memory_args[@]}" \
        -drive "file=$DATA/disk.raw,format=raw,if=none,id=disk" \
        -device virtio-blk-pci,drive=disk "$@"
    rss_watch "$name"
}

start vmm0
l2_line vmm0 '^MEMCHECK filled' 180
for turn in $(seq $MOVES); do
    from=vmm$((turn - 1))
    to=vmm$turn
    start "$to" -incoming "unix:/tmp/$to.sock"
    memory_move "$from" "$to" "unix:/tmp/$to.sock"
    rm "$DATA/$from.swap" 2>/dev/null || true
    l2_line "$to" '^MEMCHECK beat' 30
done
printf stop | dd of="$DATA/disk.raw" conv=notrunc status=none
l2_finish "$to" 120
for turn in $(seq 0 $MOVES); do
    memory_rss "vmm$turn"
done
memory_report "$to"
