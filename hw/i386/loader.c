/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loading a kernel straight into RAM: what both image formats share.
 *
 * Why without firmware: a direct boot is fast and has no moving parts; this
 * file and its two companions leave RAM as firmware and boot loader would.
 *
 * Images are hostile: every size and offset is checked against the file and
 * against RAM before it is used. All writes go through dma_write(), which
 * may page.
 *
 * Threads: main thread, vCPUs paused.
 */
#include "pc-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/dma.h"
#include "util/error.h"
#include "util/fd.h"

#define COPY_BYTES ((size_t)1 << 20)
#define PAGE_MASK (RAM_PAGE_BYTES - 1)

bool pc_image_open(PcImage *image, const char *path, GError **errp)
{
    vm_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        return vm_error_set(errp, errno, "could not open '%s'", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return vm_error_set(errp, 0, "'%s' is not a regular file", path);
    }
    *image = (PcImage){ path, vm_steal_fd(&fd), st.st_size };
    return true;
}

void pc_image_close(PcImage *image)
{
    vm_close_fd(&image->fd);
    image->fd = -1;
}

bool pc_image_read(const PcImage *image, uint64_t offset, void *buf,
                   size_t len, GError **errp)
{
    int r;

    if (offset > image->bytes || len > image->bytes - offset) {
        return vm_error_set(errp, 0, "'%s' is truncated: it ends at %"
                            G_GUINT64_FORMAT ", but refers to %zu bytes at %"
                            G_GUINT64_FORMAT, image->path, image->bytes, len,
                            offset);
    }
    r = vm_pread_full(image->fd, buf, len, offset);
    return r == 0 || vm_error_set(errp, -r, "read '%s'", image->path);
}

bool pc_write_ram(AddressSpace *memory, GuestAddr gpa, const void *buf,
                  size_t len, const char *what, GError **errp)
{
    int r = dma_write(memory, gpa, buf, len);

    return r == 0 || vm_error_set(errp, -r, "%s: writing %zu bytes of RAM at "
                                  "0x%" G_GINT64_MODIFIER "x", what, len,
                                  gpa);
}

bool pc_image_load(const PcImage *image, uint64_t offset, uint64_t len,
                   AddressSpace *memory, GuestAddr gpa, GError **errp)
{
    g_autofree uint8_t *buf = g_malloc(COPY_BYTES);

    while (len > 0) {
        size_t n = MIN(len, COPY_BYTES);

        if (!pc_image_read(image, offset, buf, n, errp) ||
            !pc_write_ram(memory, gpa, buf, n, image->path, errp)) {
            return false;
        }
        offset += n;
        gpa += n;
        len -= n;
    }
    return true;
}

static bool overlaps(uint64_t base, uint64_t len, uint64_t other,
                     uint64_t other_end)
{
    return base < other_end && base + len > other;
}

bool pc_range_is_loadable(const PcMemoryMap *map, uint64_t gpa, uint64_t len)
{
    return gpa <= map->low_ram_bytes && len <= map->low_ram_bytes - gpa &&
           !overlaps(gpa, len, PC_LOADER_BASE, PC_TABLES_END);
}

bool pc_load_initrd(const PcLoadInput *in, uint64_t floor, uint64_t end,
                    uint64_t *ret_gpa, uint64_t *ret_bytes, GError **errp)
{
    PcImage image;
    uint64_t gpa;
    bool ok;

    *ret_gpa = 0;
    *ret_bytes = 0;
    if (!in->initrd) {
        return true;
    }
    if (!pc_image_open(&image, in->initrd, errp)) {
        return false;
    }
    end = MIN(end, in->map->low_ram_bytes);
    floor = (MAX(floor, PC_HIGH_RAM) + PAGE_MASK) & ~PAGE_MASK;
    if (end < floor || image.bytes > end - floor) {
        ok = vm_error_set(errp, 0, "initrd '%s' (%" G_GUINT64_FORMAT
                          " bytes) does not fit into RAM above the kernel",
                          in->initrd, image.bytes);
        goto out;
    }
    /* floor is a page boundary, so rounding down stays above it. */
    gpa = (end - image.bytes) & ~PAGE_MASK;
    ok = pc_image_load(&image, 0, image.bytes, in->memory, gpa, errp);
    if (ok) {
        *ret_gpa = gpa;
        *ret_bytes = image.bytes;
    }
out:
    pc_image_close(&image);
    return ok;
}

bool pc_load_cmdline(const PcLoadInput *in, uint32_t max_bytes, GError **errp)
{
    const char *text = in->append ? in->append : "";
    size_t bytes = strlen(text) + 1;
    uint32_t limit = MIN(max_bytes, PC_CMDLINE_MAX_BYTES);

    if (bytes > limit) {
        return vm_error_set(errp, 0, "kernel command line is too long: %zu "
                            "bytes, the kernel takes %u", bytes - 1,
                            limit - 1);
    }
    return pc_write_ram(in->memory, PC_CMDLINE, text, bytes, "command line",
                        errp);
}

bool pc_load_kernel(const PcLoadInput *in, VcpuBootState *ret_boot,
                    GError **errp)
{
    uint8_t magic[4];
    PcImage image;
    bool ok;

    if (!pc_image_open(&image, in->kernel, errp)) {
        return false;
    }
    ok = pc_image_read(&image, 0, magic, sizeof(magic), errp);
    if (ok && memcmp(magic, "\177ELF", 4) == 0) {
        ok = pc_elf_load(in, &image, ret_boot, errp);
    } else if (ok) {
        ok = pc_bzimage_load(in, &image, ret_boot, errp);
    }
    pc_image_close(&image);
    return ok;
}
