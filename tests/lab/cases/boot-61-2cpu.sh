# lab: hosts=1 mem=1536 cpus=2 data=1024 timeout=400 tags=ci
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Debian's 6.1 kernel boots with two CPUs on q35, sees its devices behind root
# ports, and powers off.

. ./boot.sh
BOOT_PORTS=1 boot_check 6.1 2 poweroff -M q35
