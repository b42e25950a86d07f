// The fade_in family: checks, allocation, dispatch, and how its two ops differentiate one another.
#include "fade_in.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <array>
#include <optional>
#include <tuple>

#include "common.h"

namespace gan_ops {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

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

  Fraction(const std::optional<Tensor>& fraction, double given_number, const Tensor& images) : number(given_number) {
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

Tensor fade_in(const Tensor& new_any, const Tensor& old_any, const std::optional<Tensor>& fraction_any, double number) {
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
std::tuple<Tensor, Tensor> fade_in_backward(const Tensor& grad_any, const std::optional<Tensor>& fraction_any,
                                            double number, bool channels_last) {
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

auto fade_in_op() {
  static const auto op = find_op<decltype(fade_in)>("gan_ops::fade_in");
  return op;
}
auto fade_in_backward_op() {
  static const auto op = find_op<decltype(fade_in_backward)>("gan_ops::fade_in_backward");
  return op;
}

void save_fraction(AutogradContext* ctx, const std::optional<Tensor>& fraction, double number) {
  ctx->set_materialize_grads(false);
  ctx->save_for_backward({fraction.value_or(Tensor())});
  ctx->saved_data["number"] = number;
}
std::optional<Tensor> saved_fraction(AutogradContext* ctx) {
  return if_defined(ctx->get_saved_variables()[0]);
}

struct Backward : torch::autograd::Function<Backward> {
  static variable_list forward(AutogradContext* ctx, const Tensor& grad, const std::optional<Tensor>& fraction,
                               double number, bool channels_last) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    save_fraction(ctx, fraction, number);
    auto [d_new, d_old] = fade_in_backward_op().call(grad, fraction, number, channels_last);
    return {d_new, d_old};
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& v) {
    const auto fraction = saved_fraction(ctx);
    const double number = ctx->saved_data["number"].toDouble();
    variable_list d(4);
    if (v[0].defined() && v[1].defined()) {
      d[0] = fade_in_op().call(v[0], v[1], fraction, number);
    } else if (v[0].defined() || v[1].defined()) {
      const Tensor& present = v[0].defined() ? v[0] : v[1];
      const auto type = accumulate_type(present);
      const Tensor share =
          fraction ? fraction->to(present.device(), type) : at::scalar_tensor(number, present.options().dtype(type));
      const Tensor wide = present.to(type);
      const Tensor part =
          v[0].defined() ? wide * (1 - share)
                         : at::upsample_nearest2d_symint(wide, {2 * wide.sym_size(2), 2 * wide.sym_size(3)}) * share;
      d[0] = part.to(present.scalar_type());
    }
    return d;
  }
};

struct Forward : torch::autograd::Function<Forward> {
  static Tensor forward(AutogradContext* ctx, const Tensor& fresh, const Tensor& old,
                        const std::optional<Tensor>& fraction, double number) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    save_fraction(ctx, fraction, number);
    const Tensor out = fade_in_op().call(fresh, old, fraction, number);
    ctx->saved_data["channels_last"] = is_channels_last(out);
    return out;
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    if (!grads[0].defined()) return variable_list(4);
    auto [d_new, d_old] = fade_in_backward_op().call(
        grads[0], saved_fraction(ctx), ctx->saved_data["number"].toDouble(), ctx->saved_data["channels_last"].toBool());
    return {d_new, d_old, Tensor(), Tensor()};
  }
};

void check_constant(const std::optional<Tensor>& fraction) {
  TORCH_CHECK_NOT_IMPLEMENTED(!fraction || !fraction->requires_grad(),
                              "the kernels of fade_in have no derivative to the fraction: gan_ops.fade_in runs its "
                              "definition for one that requires a gradient");
}

Tensor fade_in_autograd(const Tensor& fresh, const Tensor& old, const std::optional<Tensor>& fraction, double number) {
  check_constant(fraction);
  if (records_gradient({fresh, old})) return Forward::apply(fresh, old, fraction, number);
  const at::AutoDispatchBelowADInplaceOrView guard;
  return fade_in_op().call(fresh, old, fraction, number);
}

std::tuple<Tensor, Tensor> fade_in_backward_autograd(const Tensor& grad, const std::optional<Tensor>& fraction,
                                                     double number, bool channels_last) {
  check_constant(fraction);
  if (records_gradient({grad})) {
    auto outputs = Backward::apply(grad, fraction, number, channels_last);
    return {outputs[0], outputs[1]};
  }
  const at::AutoDispatchBelowADInplaceOrView guard;
  return fade_in_backward_op().call(grad, fraction, number, channels_last);
}

void register_kernels(torch::Library& m) {
  m.impl("fade_in", fade_in);
  m.impl("fade_in_backward", fade_in_backward);
}

TORCH_LIBRARY_IMPL(gan_ops, CPU, m) {
  register_kernels(m);
}
TORCH_LIBRARY_IMPL(gan_ops, CUDA, m) {
  register_kernels(m);
}
TORCH_LIBRARY_IMPL(gan_ops, Autograd, m) {
  m.impl("fade_in", fade_in_autograd);
  m.impl("fade_in_backward", fade_in_backward_autograd);
}

}  // namespace
}  // namespace gan_ops
