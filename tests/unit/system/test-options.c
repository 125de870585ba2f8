/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line: what good options mean. Bad ones are tests/qmp's, against
 * the real binary.
 */
#include "system/options.h"

#include <string.h>

static VmOptions *parse(const char *line)
{
    g_autofree char *text = g_strdup_printf("qemu %s", line);
    g_auto(GStrv) argv = NULL;
    g_autoptr(GError) err = NULL;
    VmOptions *o;
    int argc;

    g_assert_true(g_shell_parse_argv(text, &argc, &argv, &err));
    o = vm_options_parse(argc, argv, &err);
    g_assert_no_error(err);
    return o;
}

static void test_defaults(void)
{
    g_autoptr(VmOptions) o = parse("-kernel k");

    g_assert_cmpstr(o->machine, ==, "pc-i440fx-7.2");
    g_assert_cmpstr(o->cpu, ==, "qemu64");
    g_assert_cmpuint(o->ram_bytes, ==, 128u << 20);
    g_assert_cmpuint(o->cpus, ==, 1);
    g_assert_false(o->paused);
}

static void test_machine(void)
{
    g_autoptr(VmOptions) o = parse(
        "-machine q35,accel=kvm:tcg,usb=off,dump-guest-core=off,"
        "kernel-irqchip=on,memory-backend=pc.ram -m 256 -kernel k "
        "-object '{\"qom-type\":\"memory-backend-ram\",\"id\":\"pc.ram\","
        "\"size\":268435456}'");

    g_assert_cmpstr(o->machine, ==, "pc-q35-7.2");
    g_assert_cmpstr(o->memory_backend, ==, "pc.ram");
    g_assert_cmpuint(o->ram_bytes, ==, 256u << 20);
}

/* The size of the backend holds where -m is absent. */
static void test_memory_backend(void)
{
    g_autoptr(VmOptions) o = parse(
        "-M q35,memory-backend=r -kernel k "
        "-object memory-backend-ram,id=r,size=1G");

    g_assert_cmpuint(o->ram_bytes, ==, 1u << 30);
}

static void test_memory(void)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {
        { "576", UINT64_C(576) << 20 }, { "1G", UINT64_C(1) << 30 },
        { "size=2g", UINT64_C(2) << 30 }, { "1.5G", UINT64_C(1536) << 20 },
        { "2048k", UINT64_C(2) << 20 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *line = g_strdup_printf("-kernel k -m %s",
                                                sizes[i].text);
        g_autoptr(VmOptions) o = parse(line);

        g_assert_cmpuint(o->ram_bytes, ==, sizes[i].bytes);
    }
}

static void test_smp(void)
{
    static const struct {
        const char *text;
        unsigned cpus;
    } sizes[] = {
        { "2", 2 }, { "cpus=3", 3 }, { "2,sockets=2,cores=1,threads=1", 2 },
        { "sockets=2,cores=4", 8 }, { "4,maxcpus=4", 4 }, { "4,cores=2", 4 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *line = g_strdup_printf("-kernel k -smp %s",
                                                sizes[i].text);
        g_autoptr(VmOptions) o = parse(line);

        g_assert_cmpuint(o->cpus, ==, sizes[i].cpus);
    }
}

static void test_drives(void)
{
    g_autoptr(VmOptions) o = parse(
        "-kernel k -drive if=virtio,file=a -drive if=none,file=b "
        "-drive if=virtio,file=c,id=mine");
    VmKeyval *disk;

    g_assert_cmpuint(o->drives->len, ==, 3);
    g_assert_cmpuint(o->devices->len, ==, 2);
    g_assert_cmpstr(vm_keyval_get(o->drives->pdata[0], "id"), ==, "virtio0");
    g_assert_cmpstr(vm_keyval_get(o->drives->pdata[1], "id"), ==, "none0");
    disk = o->devices->pdata[1];
    g_assert_cmpstr(vm_keyval_get(disk, "driver"), ==, "virtio-blk-pci");
    g_assert_cmpstr(vm_keyval_get(disk, "drive"), ==, "mine");
}

static void test_nic(void)
{
    g_autoptr(VmOptions) o = parse(
        "-kernel k -nic user,model=virtio-net-pci,mac=52:54:00:00:00:01,"
        "hostfwd=tcp::1-:2 -nic none -net none");
    VmKeyval *net, *card;

    g_assert_cmpuint(o->netdevs->len, ==, 1);
    net = o->netdevs->pdata[0];
    card = o->devices->pdata[0];
    g_assert_cmpstr(vm_keyval_get(net, "type"), ==, "user");
    g_assert_cmpstr(vm_keyval_get(net, "hostfwd"), ==, "tcp::1-:2");
    g_assert_null(vm_keyval_get(net, "mac"));
    g_assert_cmpstr(vm_keyval_get(card, "mac"), ==, "52:54:00:00:00:01");
    g_assert_cmpstr(vm_keyval_get(card, "netdev"), ==,
                    vm_keyval_get(net, "id"));
}

static void test_process(void)
{
    g_autoptr(VmOptions) o = parse(
        "-M none -S -name guest=x,,y,debug-threads=on -no-user-config "
        "-action reboot=shutdown,shutdown=pause -msg timestamp=on "
        "-global ICH9-LPC.disable_s3=1 -boot strict=on -rtc base=utc "
        "-overcommit mem-lock=off -sandbox off -qmp unix:q -qmp-pretty stdio "
        "-monitor none --no-shutdown");

    g_assert_true(o->paused && o->no_reboot && o->no_shutdown);
    g_assert_true(o->debug_threads && o->timestamps);
    g_assert_cmpstr(o->name, ==, "x,y");
    g_assert_cmpuint(o->monitors->len, ==, 3);
}

static void test_swap_dir(void)
{
    g_autoptr(VmOptions) o = parse(
        "-M q35 -kernel k -vmemdirect swap-dir=/var/swap,memory=1G "
        "-name guest=web-1,debug-threads=on");
    g_autoptr(VmOptions) given = parse(
        "-M q35 -kernel k -vmemdirect swap=/x,memory=1G -name web-1");

    g_assert_cmpstr(vm_keyval_get(o->vmemdirect, "swap"), ==,
                    "/var/swap/web-1.swap");
    g_assert_cmpstr(vm_keyval_get(given->vmemdirect, "swap"), ==, "/x");
}

/* What libvirt 9.0 gives a q35 domain with disk, network, balloon, serial
 * port and random numbers; its order and its spelling. */
static void test_libvirt(void)
{
    g_autoptr(VmOptions) o = parse(
        "-name guest=web-1,debug-threads=on -S -object '{\"qom-type\":"
        "\"secret\",\"id\":\"masterKey0\",\"format\":\"raw\",\"file\":"
        "\"/var/lib/libvirt/qemu/domain-1-web-1/master-key.aes\"}' -machine "
        "pc-q35-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram "
        "-accel kvm -cpu host,migratable=on -m 256 -object '{\"qom-type\":"
        "\"memory-backend-ram\",\"id\":\"pc.ram\",\"size\":268435456}' "
        "-overcommit mem-lock=off -smp 2,sockets=2,cores=1,threads=1 -uuid "
        "6204d0e9-cd25-4ded-acaf-aa85b68fafac -display none -no-user-config "
        "-nodefaults -chardev socket,id=charmonitor,fd=29,server=on,wait=off "
        "-mon chardev=charmonitor,id=monitor,mode=control -rtc base=utc "
        "-no-hpet -no-shutdown -global ICH9-LPC.disable_s3=1 -boot strict=on "
        "-usb -kernel k -initrd i -append 'console=ttyS0 quiet' -device "
        "'{\"driver\":\"pcie-root-port\",\"port\":8,\"chassis\":1,\"id\":"
        "\"pci.1\",\"bus\":\"pcie.0\",\"multifunction\":true,\"addr\":"
        "\"0x1\"}' -blockdev '{\"driver\":\"file\",\"filename\":\"/d.raw\","
        "\"node-name\":\"libvirt-1-storage\",\"cache\":{\"direct\":true,"
        "\"no-flush\":false},\"auto-read-only\":true,\"discard\":\"unmap\"}' "
        "-netdev user,id=hostnet0 -device "
        "virtio-net-pci,netdev=hostnet0,id=net0,mac=52:54:00:11:22:33,"
        "bus=pci.1,addr=0x0 -chardev pty,id=charserial0 -device "
        "isa-serial,chardev=charserial0,id=serial0,index=0 -audiodev "
        "'{\"id\":\"audio1\",\"driver\":\"none\"}' -incoming defer "
        "-vmemdirect swap-dir=/s,memory=128M -sandbox on,obsolete=deny,"
        "elevateprivileges=deny,spawn=deny,resourcecontrol=deny "
        "-msg timestamp=on");

    g_assert_cmpstr(o->machine, ==, "pc-q35-7.2");
    g_assert_cmpuint(o->cpus, ==, 2);
    g_assert_cmpuint(o->devices->len, ==, 3);
    g_assert_cmpuint(o->monitors->len, ==, 1);
    g_assert_true(o->paused && o->no_shutdown && o->timestamps);
    g_assert_cmpstr(o->incoming, ==, "defer");
    g_assert_cmpstr(vm_keyval_get(o->vmemdirect, "swap"), ==, "/s/web-1.swap");
    g_assert_true(o->sandbox.on && o->sandbox.deny_spawn);
}

static void test_actions(void)
{
    g_autoptr(VmOptions) help = parse("-help");
    g_autoptr(VmOptions) version = parse("-M none -version -foo");
    g_autoptr(VmOptions) devices = parse("-device help");
    g_autoptr(VmOptions) machines = parse("-M help");
    g_autofree char *text = vm_options_help();

    g_assert_cmpint(help->action, ==, VM_OPTIONS_HELP);
    g_assert_cmpint(version->action, ==, VM_OPTIONS_VERSION);
    g_assert_cmpint(devices->action, ==, VM_OPTIONS_DEVICES);
    g_assert_cmpint(machines->action, ==, VM_OPTIONS_MACHINES);
    g_assert_nonnull(strstr(text, "-vmemdirect swap=PATH"));
}

static void check_json(const char *json, const char *flat)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *text = vm_options_flatten_json("-x", json, &err);

    g_assert_cmpstr(text, ==, flat);
    g_assert_true((flat == NULL) == (err != NULL));
}

static void test_json(void)
{
    check_json("{\"a\":\"x,y\",\"b\":true,\"c\":false,\"d\":-1}",
               "a=x,,y,b=on,c=off,d=-1");
    check_json("{\"a\":{\"b\":{\"c\":1}},\"l\":[\"x\",{\"y\":2}]}",
               "a.b.c=1,l.0=x,l.1.y=2");
    check_json("{}", "");
    check_json("{\"a\":null}", NULL);
    check_json("{\"a=b\":1}", NULL);
    check_json("{\"\":1}", NULL);
    check_json("{\"a\":1} x", NULL);
    check_json("[1]", NULL);
    check_json("{\"a\":", NULL);
    check_json("", NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/options/defaults", test_defaults);
    g_test_add_func("/options/machine", test_machine);
    g_test_add_func("/options/memory-backend", test_memory_backend);
    g_test_add_func("/options/memory", test_memory);
    g_test_add_func("/options/smp", test_smp);
    g_test_add_func("/options/drives", test_drives);
    g_test_add_func("/options/nic", test_nic);
    g_test_add_func("/options/process", test_process);
    g_test_add_func("/options/actions", test_actions);
    g_test_add_func("/options/swap-dir", test_swap_dir);
    g_test_add_func("/options/libvirt", test_libvirt);
    g_test_add_func("/options/json", test_json);
    return g_test_run();
}
