# lab: hosts=1 mem=1536 cpus=2 data=1024 timeout=400 tags=ci
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A guest that resets comes up again in the same VMM, with its disk as it left
# it and with all of its CPUs, and then powers off.

data_mount
truncate -s 16M "$DATA/disk.raw"
l2_initrd reboot <<'GUEST'
[ "$(grep -c ^processor /proc/cpuinfo)" = 2 ] || exit 1
if [ "$(head -c 5 /dev/vda)" = again ]; then
    echo "L2 second boot"
    exit 0
fi
echo again | dd of=/dev/vda conv=fsync 2>/dev/null
echo "L2 first boot"
reboot -f
GUEST
l2_start reboot 6.12 "" -M q35 -m 256 -smp 2 \
    -drive "file=$DATA/disk.raw,format=raw,if=none,id=disk" \
    -device virtio-blk-pci,drive=disk
l2_line reboot '^L2 first boot' 60
l2_line reboot '^L2 second boot' 60
l2_finish reboot 30
