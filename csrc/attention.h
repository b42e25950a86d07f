// The kernels of attention: what is done to a block of scores between the products of matrices. Formulas and shapes
// are in math/attention.h. All tensors are of the accumulate type of dtype.
#pragma once

#include "kernel_types.h"
#include "math/attention.h"

namespace gan_ops {

/// s: S without the bias, which becomes P. log_sum: ℓ, which is written. Pointers to ℓ are those to row 0 of the
/// block's first matrix.
struct AttentionForwardArgs {
  void* s;
  void* log_sum;
  ScoreBias bias;
  ScoreBlock block;
};

/// s becomes P, and a, which is A, becomes dS.
struct AttentionBackwardArgs {
  void *s, *a;
  const void* log_sum;
  ScoreBias bias;
  ScoreBlock block;
};

/// s becomes P; a, which is A, becomes dS; w, which is W without v_bias, becomes X; u, which is U, becomes T.
struct AttentionDoubleBackwardArgs {
  void *s, *a, *w, *u;
  const void* log_sum;
  ScoreBias bias, v_bias;
  ScoreBlock block;
};

void run_on_cpu(const AttentionForwardArgs& args, Dtype dtype);
void run_on_cpu(const AttentionBackwardArgs& args, Dtype dtype);
void run_on_cpu(const AttentionDoubleBackwardArgs& args, Dtype dtype);

void run_on_cuda(const AttentionForwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const AttentionBackwardArgs& args, Dtype dtype, CudaStream stream);
void run_on_cuda(const AttentionDoubleBackwardArgs& args, Dtype dtype, CudaStream stream);

}  // namespace gan_ops
