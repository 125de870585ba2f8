/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Contract in chunk-size.h. */
#include "chunk-size.h"

bool mig_chunks_can_be(uint32_t own, uint32_t chunk_pages)
{
    return chunk_pages > 0 && own % chunk_pages == 0;
}

void mig_chunks_init(MigChunks *ret, const MigrationVm *vm,
                     uint32_t chunk_pages)
{
    const RamPlacement *own = vm->placement;

    *ret = (MigChunks){ .placement = own };
    if (chunk_pages == own->ops->chunk_pages(own->opaque)) {
        return;
    }
    if (own->ops->budget_pages(own->opaque) == UINT64_MAX) {
        ret->plain = ram_plain_placement_new(vm->ram, chunk_pages);
        ret->placement = ret->plain;
    } else {
        ret->finer = ram_finer_placement_new(own, ram_block_pages(vm->ram),
                                             chunk_pages);
        ret->placement = ret->finer;
    }
}

void mig_chunks_done(MigChunks *chunks)
{
    g_clear_pointer(&chunks->plain, ram_plain_placement_free);
    g_clear_pointer(&chunks->finer, ram_finer_placement_free);
}
