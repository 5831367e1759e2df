// SPDX-License-Identifier: Apache-2.0
// What absorbed latent attention reads of few rows, as one kernel: compressed queries, a product of
// each head's plain queries with its matrix (`linear_few.cu`), and in blocks behind those the keys
// with their norm and all that is turned (`store.cu`). Neither needs the other, so it saves a
// kernel and the border behind it.

// Grid: tiles of a head's rows; 1; heads, then as many layers as all of `spread` blocks for each
// row fill. Shared memory: that of the product.
#define LATENT_FEW(name, store_block)                                                            \
  EARLY_KERNEL(name, cu_latent, cu_threads) {                                                    \
    const int layer = block_z() - op.heads;                                                      \
    if (layer >= 0) return store_::store_block(op.store, layer * grid_x() + block_x());          \
    linear_few_::product_few<cu_format_bf16, 1>(op.product, block_x(), block_z());               \
  }
LATENT_FEW(latent_few, store_block)
LATENT_FEW(latent_few_fp8, store_block_fp8)
