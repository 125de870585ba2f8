/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The swap file: one VM's, sparse, as long as guest RAM, O_DIRECT.
 *
 * The content is anonymous state: it means something only to the process that
 * wrote it. So the name is removed as soon as the file is open, unless keep
 * is asked for, and nothing is ever read that was not written before.
 */
#ifndef VMD_SWAPFILE_H
#define VMD_SWAPFILE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Makes or takes path (a regular file or a block device), locks it, makes it
 * bytes long and checks O_DIRECT. least_bytes is what has to fit at the
 * least. A regular file that has content and was not made by this function is
 * refused. On failure nothing is changed: a file that was made is removed.
 * Returns the descriptor, or -1 with errp filled.
 */
int vmd_swapfile_open(const char *path, uint64_t bytes, uint64_t least_bytes,
                      bool keep, GError **errp);
/* Could its file system ever hold least_bytes? Always true for a device. */
bool vmd_swapfile_check_room(int fd, const char *path, uint64_t least_bytes,
                             GError **errp);

#endif
