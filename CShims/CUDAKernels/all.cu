// SPDX-License-Identifier: Apache-2.0
// All kernels as one translation unit, for nvcc and for the emulation: one file of machine code.
#include "attention_packed.h"
#include "attention_rows.h"
#include "cache_codes.h"
#include "coded_rows.h"
#include "few_norm.h"
#include "few_sums.h"
#include "pack_words.h"
#include "prefill_heads.h"
#include "product.h"
#include "ring.h"
#include "rope.h"
#include "sample.h"
#include "slots.h"

namespace attention_ {
#include "attention.cu"
#include "attention_expanded.cu"
#include "attention_merge.cu"
#include "attention_slices.cu"
}
namespace choose_ {
#include "choose.cu"
}
namespace experts_ {
#include "experts.cu"
}
namespace linear_coded_ {
#include "linear_coded.cu"
}
namespace linear_few_ {
#include "linear_few.cu"
}
namespace linear_many_ {
#include "linear_many.cu"
}
namespace measure_ {
#include "measure.cu"
}
namespace norm_ {
#include "norm.cu"
}
namespace pack_ {
#include "pack.cu"
#include "pack_codes.cu"
}
namespace prefill_ {
#include "prefill.cu"
}
namespace ring_ {
#include "ring.cu"
}
namespace rope_ {
#include "rope.cu"
}
namespace route_ {
#include "route.cu"
}
namespace route_choose_ {
#include "route_choose.cu"
}
namespace rows_ {
#include "rows.cu"
}
namespace sample_ {
#include "adjust.cu"
#include "report.cu"
#include "sample.cu"
}
namespace store_ {
#include "store.cu"
}
namespace latent_ {
#include "latent.cu"
#include "latent_values.cu"
}
