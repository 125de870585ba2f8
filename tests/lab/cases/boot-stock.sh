# lab: hosts=1 mem=1536 cpus=2 data=1024 timeout=300 tags=ci
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The lab itself: stock QEMU boots a Linux guest with the host's KVM.

VMM=/usr/bin/qemu-system-x86_64

[ -c /dev/kvm ] || fail "the host has no /dev/kvm"

l2_initrd stock <<'GUEST'
[ "$(grep -c ^processor /proc/cpuinfo)" = 1 ] && [ -c /dev/ttyS0 ]
GUEST
l2_start stock 6.12 "" -M q35 -m 256 -no-reboot
l2_finish stock 60
say "$(grep -a 'L2 up' "$RESULTS/stock.serial" | tr -d '\r')"
