# lab: hosts=1 mem=1536 cpus=2 data=1024 timeout=400 tags=ci
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Debian's 6.1 kernel boots with one CPU on pc, sees its devices, and
# a reset ends the VMM (-no-reboot).

. ./boot.sh
boot_check 6.1 1 reboot -M pc
