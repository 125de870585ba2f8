/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tree of fake-damon.h. */
#include "fake-damon.h"

#include <glib/gstdio.h>

static const char *const damon_files[] = {
    FAKE_KDAMONDS "/nr_kdamonds",
    FAKE_KDAMONDS "/0/state",
    FAKE_KDAMONDS "/0/pid",
    FAKE_KDAMONDS "/0/contexts/nr_contexts",
    FAKE_CONTEXT "/operations",
    FAKE_CONTEXT "/monitoring_attrs/intervals/sample_us",
    FAKE_CONTEXT "/monitoring_attrs/intervals/aggr_us",
    FAKE_CONTEXT "/monitoring_attrs/intervals/update_us",
    FAKE_CONTEXT "/monitoring_attrs/nr_regions/min",
    FAKE_CONTEXT "/monitoring_attrs/nr_regions/max",
    FAKE_CONTEXT "/targets/nr_targets",
    FAKE_CONTEXT "/targets/0/pid_target",
    FAKE_CONTEXT "/targets/0/regions/nr_regions",
    FAKE_CONTEXT "/targets/0/regions/0/start",
    FAKE_CONTEXT "/targets/0/regions/0/end",
    FAKE_CONTEXT "/schemes/nr_schemes",
    FAKE_CONTEXT "/schemes/0/action",
    FAKE_CONTEXT "/schemes/0/access_pattern/sz/max",
    FAKE_CONTEXT "/schemes/0/access_pattern/nr_accesses/min",
    FAKE_CONTEXT "/schemes/0/access_pattern/nr_accesses/max",
    FAKE_CONTEXT "/schemes/0/access_pattern/age/max",
    FAKE_CONTEXT "/schemes/0/tried_regions/total_bytes",
};

void fake_damon_put(const FakeDamon *tree, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(tree->root, name, NULL);
    g_autofree char *dir = g_path_get_dirname(path);

    g_assert_cmpint(g_mkdir_with_parents(dir, 0700), ==, 0);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

void fake_damon_put_number(const FakeDamon *tree, const char *name,
                           uint64_t n)
{
    g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT "\n", n);

    fake_damon_put(tree, name, text);
}

void fake_damon_put_region(const FakeDamon *tree, unsigned number,
                           uint64_t start, uint64_t end)
{
    g_autofree char *dir = g_strdup_printf(FAKE_TRIED "/%u", number);
    g_autofree char *from = g_build_filename(dir, "start", NULL);
    g_autofree char *to = g_build_filename(dir, "end", NULL);

    fake_damon_put_number(tree, from, start);
    fake_damon_put_number(tree, to, end);
}

FakeDamon *fake_damon_new(void)
{
    FakeDamon *tree = g_new0(FakeDamon, 1);

    tree->root = g_dir_make_tmp("vmd-test-XXXXXX", NULL);
    g_assert_nonnull(tree->root);
    for (size_t i = 0; i < G_N_ELEMENTS(damon_files); i++) {
        fake_damon_put(tree, damon_files[i], "0\n");
    }
    fake_damon_put(tree, FAKE_KDAMONDS "/0/pid", "77\n");
    return tree;
}

static void remove_all(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *child = g_build_filename(path, name, NULL);
        remove_all(child);
    }
    g_assert_cmpint(g_remove(path), ==, 0);
}

void fake_damon_break(const FakeDamon *tree)
{
    g_autofree char *path = g_build_filename(tree->root, FAKE_TRIED, NULL);

    remove_all(path);
}

void fake_damon_free(FakeDamon *tree)
{
    remove_all(tree->root);
    g_free(tree->root);
    g_free(tree);
}
