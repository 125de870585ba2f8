# lab: hosts=1 mem=1536 cpus=2 data=1536 timeout=900 tags=ci
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The native tests that matter most (tests/native), on a host with nested
# paging and a recent kernel: the machine around the lab may have neither.

data_mount
export QEMU=$VMM VMTEST_DIR=$DATA TMPDIR=$DATA VMTEST_PATIENCE=$((6 * PATIENCE))
export GUEST_ELF=$PWD/tests/guest/guest.elf
export TEST_GUEST=$GUEST_ELF
need_ours
[ -e "$TEST_GUEST" ] || skip "the test guest is not built"
python3 tests/native/run --few
