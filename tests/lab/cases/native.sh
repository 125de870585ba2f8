# lab: hosts=1 mem=1536 cpus=2 data=1536 timeout=420 tags=ci
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The native tests (tests/native), those that matter most, on a host with
# nested paging and a recent kernel: the machine that runs the harness may
# have neither, nor any KVM. "tests/native/run --list" shows them all.

TESTS="boot.boot boot.reset boot.stop paging.half_budget paging.mode_copy
    paging.io_libaio paging.budget_changes migration.tight_to_tight
    migration.enough_to_tight migration.tight_to_enough
    migration.no_paging_by_migration migration.cancel"

data_mount
export QEMU=$VMM VMTEST_DIR=$DATA VMTEST_PATIENCE=6
export TEST_GUEST=$PWD/tests/guest/guest.elf
[ "$VMM_KIND" = ours ] || export VMTEST_STOCK=1
[ -e "$TEST_GUEST" ] || skip "the test guest is not built"
# shellcheck disable=SC2086
python3 tests/native/run --quick $TESTS || fail "see above"
