// The fade_in family: checks, allocation, dispatch, and how its two ops differentiate one another.
#include "fade_in.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/upsample_nearest2d.h>

#include <array>
#include <optional>
#include <tuple>

#include "op.h"

namespace gan_ops {
namespace fade_in_family {

// ---- Kernels' entry points ----

void check_even_image(const Tensor& image, const char* name) {
  dtype_of(image, name);
  TORCH_CHECK_VALUE(image.dim() == 4 && image.size(2) % 2 == 0 && image.size(3) % 2 == 0, name,
                    " must be [N, C, 2·H, 2·W], but its shape is ", image.sizes());
}

/// [N, C, H, W] of an image [N, C, 2·H, 2·W].
std::array<int64_t, 4> half_sizes(const Tensor& image) {
  return {image.size(0), image.size(1), image.size(2) / 2, image.size(3) / 2};
}

FadeLayout fade_layout(const Tensor& dense_image) {
  const auto [samples, channels, height, width] = half_sizes(dense_image);
  if (is_channels_last(dense_image)) return {samples * height, width, channels};
  return {samples * channels * height, width, 1};
}

/// The fraction as kernels take it. One on the images' device is read there, by the kernel: nobody waits for it.
struct Fraction {
  Tensor on_device;  // undefined for a number
  double number;

  Fraction(const MaybeTensor& fraction, double given_number, const Tensor& images) : number(given_number) {
    if (!fraction) return;
    dtype_of(*fraction, "fraction");
    TORCH_CHECK_VALUE(fraction->dim() == 0, "fraction must be a number or a 0-d tensor, but its shape is ",
                      fraction->sizes());
    if (fraction->is_cpu())
      number = fraction->item<double>();
    else
      on_device = fraction->to(images.device(), accumulate_type(images));
  }
  const void* pointer() const { return on_device.defined() ? on_device.const_data_ptr() : nullptr; }
};

Tensor fade_in(const Tensor& new_any, const Tensor& old_any, const MaybeTensor& fraction_any, double number) {
  check_even_image(new_any, "new");
  check_matches(old_any, "old", half_sizes(new_any), new_any.scalar_type(), new_any.device());
  const Tensor fresh = dense(new_any), old = dense_like(old_any, fresh);
  const Fraction fraction(fraction_any, number, fresh);
  Tensor out = at::empty_like(fresh);
  if (out.numel() > 0)
    run_kernel(FadeInArgs{fresh.const_data_ptr(), old.const_data_ptr(), out.mutable_data_ptr(), fraction.pointer(),
                          fraction.number, fade_layout(fresh)},
               fresh);
  return out;
}

/// Returns d_new and d_old, in channels_last or contiguous.
std::tuple<Tensor, Tensor> fade_in_backward(const Tensor& grad_any, const MaybeTensor& fraction_any, double number,
                                            bool channels_last) {
  check_even_image(grad_any, "grad");
  const auto format = channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  const Tensor grad = grad_any.contiguous(format);
  const Fraction fraction(fraction_any, number, grad);
  Tensor d_new = at::empty_like(grad);
  Tensor d_old = at::empty(half_sizes(grad), grad.options().memory_format(format));
  if (grad.numel() > 0)
    run_kernel(FadeInBackwardArgs{grad.const_data_ptr(), d_new.mutable_data_ptr(), d_old.mutable_data_ptr(),
                                  fraction.pointer(), fraction.number, fade_layout(grad)},
               grad);
  return {d_new, d_old};
}

// ---- Derivatives ----

constexpr Op<"fade_in", fade_in> op;
constexpr Op<"fade_in_backward", fade_in_backward> backward_op;

void check_constant(const MaybeTensor& fraction) {
  TORCH_CHECK_NOT_IMPLEMENTED(!fraction || !fraction->requires_grad(),
                              "the kernels of fade_in have no derivative to the fraction: gan_ops.fade_in runs its "
                              "definition for one that requires a gradient");
}

Tensors derivative(const Kept& kept, const Tensors& grads) {
  const auto [number, channels_last] = kept.options<double, bool>();
  return as_list(backward_op(grads[0], if_defined(kept[0]), number, channels_last));
}

Tensor fade_in_autograd(const Tensor& fresh, const Tensor& old, const MaybeTensor& fraction, double number) {
  check_constant(fraction);
  return recorded({fresh, old}, derivative, [&](const Keep& keep) {
    const Tensor out = op.below_autograd(fresh, old, fraction, number);
    keep({fraction}, number, is_channels_last(out));
    return out;
  });
}

Tensors derivative_of_backward(const Kept& kept, const Tensors& v) {
  const MaybeTensor fraction = if_defined(kept[0]);
  const auto [number] = kept.options<double>();
  if (v[0].defined() && v[1].defined()) return {op(v[0], v[1], fraction, number)};
  const Tensor& present = v[0].defined() ? v[0] : v[1];
  const auto type = accumulate_type(present);
  const Tensor share =
      fraction ? fraction->to(present.device(), type) : at::scalar_tensor(number, present.options().dtype(type));
  const Tensor wide = present.to(type);
  const Tensor part = v[0].defined()
                          ? wide * (1 - share)
                          : at::upsample_nearest2d_symint(wide, {2 * wide.sym_size(2), 2 * wide.sym_size(3)}) * share;
  return {part.to(present.scalar_type())};
}

std::tuple<Tensor, Tensor> fade_in_backward_autograd(const Tensor& grad, const MaybeTensor& fraction, double number,
                                                     bool channels_last) {
  check_constant(fraction);
  return recorded({grad}, derivative_of_backward, [&](const Keep& keep) {
    keep({fraction}, number);
    return backward_op.below_autograd(grad, fraction, number, channels_last);
  });
}

const Registration registrations[] = {
    {op, fade_in_autograd},
    {backward_op, fade_in_backward_autograd},
};

}  // namespace fade_in_family
}  // namespace gan_ops
