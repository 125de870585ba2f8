/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Promise: no kernel image makes the loader read outside of the file or write
 * outside of RAM; what it refuses it refuses with a message.
 *
 * How: the board of the device tests, and the input as its kernel. The
 * input's first byte: bit 0: with an initial RAM disk, which is the same
 * file; bit 1: with a command line.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "../device/board/fixture.h"
#include "hw/i386/pc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RAM_BYTES (UINT64_C(32) << 20)

static char *make_image(const uint8_t *data, size_t size)
{
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("image", MFD_CLOEXEC);
    }
    g_assert_cmpint(ftruncate(fd, 0), ==, 0);
    g_assert_cmpint(pwrite(fd, data, size, 0), ==, (ssize_t)size);
    return g_strdup_printf("/proc/self/fd/%d", fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *path = NULL;
    g_autoptr(GError) error = NULL;
    PcConfig config = { .machine = "pc", .cpus = 1 };
    VcpuBootState boot;
    Fixture f;
    PcMachine *pc;
    bool ok;

    if (size == 0) {
        return 0;
    }
    path = make_image(data + 1, size - 1);
    config.kernel = path;
    config.initrd = data[0] & 1 ? path : NULL;
    config.append = data[0] & 2 ? "console=ttyS0" : NULL;
    fixture_init(&f, RAM_BYTES);
    pc = pc_machine_new(&config, &f.machine, &error);
    g_assert_no_error(error);
    ok = pc_machine_load(pc, &boot, &error);
    g_assert_true(ok == (error == NULL));
    g_assert_true(ok || error->message[0] != '\0');
    machine_done(&f.machine);
    pc_machine_free(pc);
    fixture_done(&f);
    return 0;
}
