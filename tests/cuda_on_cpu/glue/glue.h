// What the files here share: they give each run_on_cuda of csrc/ a C name, for Python to call. Arguments are the
// tensors' pointers, then sizes (int64) and options (double), as in the Args struct.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>

#include "../../../csrc/kernel_types.h"

extern "C" unsigned char cuda_on_cpu_unwritten();

/// Scratch memory of `count` values of the accumulate type of `dtype`, exactly as long as that and never written.
class Scratch {
 public:
  Scratch(gan_ops::Dtype dtype, int64_t count)
      : bytes_(count * (dtype == gan_ops::Dtype::float64 ? sizeof(double) : sizeof(float))),
        memory_(::operator new(bytes_)) {
    std::memset(memory_, cuda_on_cpu_unwritten(), bytes_);
  }
  ~Scratch() { ::operator delete(memory_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  void* get() const { return memory_; }

 private:
  size_t bytes_;
  void* memory_;
};
