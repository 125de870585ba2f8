# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What the boot cases have in common: boots one of Debian's cloud kernels and
# checks, from inside the guest and from the host, everything that a guest
# expects of the machine. Sourced by them after lib.sh.
#
#   boot_check KERNEL CPUS poweroff|reboot [VMM ARGUMENT...]
#
# With BOOT_PORTS=1 each device is behind a PCI Express root port of its own, as
# libvirt puts it, and one port is spare.

DISK_MIB=64
BLOB_KIB=1024
GUEST_PORT=7

boot_guest() {
    l2_initrd boot <<'GUEST'
status=0
check() {
    if [ "$2" = "$3" ]; then
        echo "L2 ok $1: $2"
    else
        echo "L2 WRONG $1: $2, expected $3"
        status=1
    fi
}
sum() {
    sha256sum | cut -d' ' -f1
}

check cpus "$(grep -c ^processor /proc/cpuinfo)" "$l2_cpus"
check online "$(cat /sys/devices/system/cpu/online)" \
    "$([ "$l2_cpus" = 1 ] && echo 0 || echo "0-$((l2_cpus - 1))")"
mib=$(($(awk '/^MemTotal/ { print $2 }' /proc/meminfo) / 1024))
check memory "$((mib > l2_mib * 3 / 4 && mib <= l2_mib))" 1

# The host wrote the first half of the disk; the second is ours.
check disk-bytes "$(($(cat /sys/block/vda/size) * 512))" \
    "$((l2_disk_mib * 1048576))"
half=$((l2_disk_mib / 2))
check disk-read "$(dd if=/dev/vda bs=1M count=$half 2>/dev/null | sum)" \
    "$l2_disk_sum"
dd if=/dev/urandom of=/tmp/written bs=1M count=8 2>/dev/null
dd if=/tmp/written of=/dev/vda bs=1M seek=$half conv=fsync 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
written=$(sum </tmp/written)
check disk-write \
    "$(dd if=/dev/vda bs=1M skip=$half count=8 2>/dev/null | sum)" "$written"
echo "L2 disk-written $written"

# The network ends at the user-mode gateway, which answers for itself.
ip link set eth0 up
udhcpc -i eth0 -n -q -t 5 -s /bin/true >/tmp/dhcp 2>&1
check dhcp "$(grep -o 'lease of [0-9.]*' /tmp/dhcp)" "lease of 10.0.2.15"
ip addr add 10.0.2.15/24 dev eth0
check ping "$(ping -c 3 -W 5 10.0.2.2 | grep -c 'bytes from 10.0.2.2')" 3
check tcp-out "$(nc 10.0.2.2 "$l2_port" </dev/null | sum)" "$l2_blob_sum"
echo "L2 listening"
check tcp-in "$(nc -l -p 7 | sum)" "$l2_blob_sum"

check root-ports "$(cat /sys/bus/pci/devices/*/class | grep -c 0x060400)" \
    "$l2_ports"
if [ "$l2_ports" != 0 ]; then
    check behind "$(readlink -f /sys/block/vda |
        grep -c '/0000:00:01.0/0000:01:00.0/')" 1
    check link "$(cat /sys/bus/pci/devices/0000:01:00.0/current_link_width)" 1
fi
check msi-x "$(grep -q 'virtio.*-req' /proc/interrupts; echo $?)" 0
check rng "$(cut -d. -f1 /sys/class/misc/hw_random/rng_current)" virtio_rng
check rng-bytes "$(dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c)" 64
check rng-varies "$([ "$(dd if=/dev/hwrng bs=64 count=1 2>/dev/null | sum)" = \
    "$(dd if=/dev/hwrng bs=64 count=1 2>/dev/null | sum)" ]; echo $?)" 1

late=$(($(cat /sys/class/rtc/rtc0/since_epoch) - l2_epoch))
check rtc "$((late >= -2 && late < 300))" 1
for cpu in $(seq 0 $((l2_cpus - 1))); do
    ticks=$(awk -v n=$((cpu + 2)) '/LOC:/ { print $n }' /proc/interrupts)
    check "cpu$cpu-ticks" "$((ticks > 10))" 1
done
check oops "$(dmesg | grep -cE 'Oops|BUG:')" 0
dmesg | grep -iE 'warn|error|fail|unsupported|timed out' | head -n 20
echo "clock $(cat /sys/devices/system/clocksource/*/current_clocksource)"
exit $status
GUEST
}

boot_check() {
    local kernel=$1 cpus=$2 end=$3 mib=256 port=8000 disk=$DATA/disk.raw
    local blob_sum disk_sum epoch written ports=0
    local disk_place='' net_place='' rng_place=''
    shift 3

    if [ "${BOOT_PORTS:-0}" = 1 ]; then
        for ports in 1 2 3 4; do
            set -- "$@" -device "pcie-root-port,id=pci.$ports,bus=pcie.0,\
port=$((7 + ports)),chassis=$ports,addr=0x1.$((ports - 1)),\
multifunction=$([ $ports = 1 ] && echo on || echo off)"
        done
        disk_place=,bus=pci.1,addr=0x0
        net_place=,bus=pci.2,addr=0x0
        rng_place=,bus=pci.3,addr=0x0
    fi

    data_mount
    boot_guest
    truncate -s ${DISK_MIB}M "$disk"
    dd if=/dev/urandom of="$disk" bs=1M count=$((DISK_MIB / 2)) conv=notrunc \
        status=none
    disk_sum=$(head -c $((DISK_MIB / 2))M "$disk" | sha256sum | cut -d' ' -f1)
    head -c ${BLOB_KIB}K /dev/urandom >"$DATA/blob"
    blob_sum=$(sha256sum <"$DATA/blob" | cut -d' ' -f1)
    socat -u "FILE:$DATA/blob" \
        "TCP-LISTEN:$port,bind=127.0.0.1,reuseaddr" &
    epoch=$(date +%s)

    l2_start boot "$kernel" "l2_cpus=$cpus l2_mib=$mib l2_port=$port \
l2_epoch=$epoch l2_end=$end l2_disk_mib=$DISK_MIB l2_disk_sum=$disk_sum \
l2_blob_sum=$blob_sum l2_ports=$ports" -m $mib -smp "$cpus" -no-reboot "$@" \
        -drive "file=$disk,format=raw,if=none,id=disk" \
        -device "virtio-blk-pci,drive=disk$disk_place" \
        -netdev "user,id=net,hostfwd=tcp:127.0.0.1:9000-:$GUEST_PORT" \
        -device "virtio-net-pci,netdev=net$net_place" \
        -device "virtio-rng-pci$rng_place"
    l2_line boot '^L2 listening' 90
    # The guest's nc may not listen yet, though it is about to.
    sleep 1
    timeout 30 socat -u "FILE:$DATA/blob" TCP:127.0.0.1:9000 ||
        say "cannot send to the guest"
    l2_line boot '^L2 exit' 60
    l2_finish boot 15

    written=$(dd if="$disk" bs=1M skip=$((DISK_MIB / 2)) count=8 \
        status=none | sha256sum | cut -d' ' -f1)
    grep -aq "^L2 disk-written $written" "$RESULTS/boot.serial" ||
        fail "what the guest wrote is not on the disk"
    say "$(grep -a '^L2 up' "$RESULTS/boot.serial" | tr -d '\r')," \
        "$(grep -ac '^L2 ok' "$RESULTS/boot.serial") checks"
}
