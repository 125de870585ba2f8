# lab: hosts=1 mem=1536 cpus=2 data=1536 timeout=600 tags=ci
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The demonstration (scripts/demo), in the lab: what it falls back to where
# the machine has no KVM or no userfaultfd.

need_ours
data_mount
export QEMU=$VMM TMPDIR=$DATA VMTEST_DIR=$DATA VMTEST_PATIENCE=$((6 * PATIENCE))
export GUEST_ELF=$PWD/tests/guest/guest.elf
export TEST_GUEST=$GUEST_ELF
[ -e "$GUEST_ELF" ] || skip "the test guest is not built"
scripts/demo --native --mem 320 --rate 5 --hot 24
