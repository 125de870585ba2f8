# lab: hosts=1 mem=1536 cpus=2 data=1024 timeout=300 tags=ci
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The access sources that need a kernel's help find a hot set that is known:
# DAMON, and idle pages where the kernel has them (Debian's has not).

need_ours
data_mount
export QEMU=$VMM VMTEST_DIR=$DATA TMPDIR=$DATA VMTEST_PATIENCE=$((3 * PATIENCE))
export GUEST_ELF=$PWD/tests/guest/guest.elf
export TEST_GUEST=$GUEST_ELF VMTEST_LAB=1
[ -e "$TEST_GUEST" ] || skip "the test guest is not built"
# Not soft faults: moves are so slow here that its purse allows only a few.
python3 tests/native/run trackers.choice trackers.damon trackers.idle
