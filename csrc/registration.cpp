// The ops' schemas, and the Python module gan_ops._C, which says what this build is.
#include <gan_ops_build_facts.h>  // written by setup.py
#include <pybind11/pybind11.h>
#include <torch/library.h>
#include <torch/version.h>

#include "common.h"
#include "cpu/parallel.h"

#ifdef GAN_OPS_WITH_CUDA
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#endif

namespace gan_ops {

#ifdef GAN_OPS_WITH_CUDA
CudaStream current_cuda_stream(c10::Device device) {
  return c10::cuda::getCurrentCUDAStream(device.index()).stream();
}
constexpr int kCudaVersion = CUDART_VERSION;  // 1000·major + 10·minor, 0 without CUDA
#else
constexpr int kCudaVersion = 0;
#endif

// Also readable in the file itself, for when a mismatched torch keeps it from loading (gan_ops/_extension.py).
constexpr const char* kBuild = "gan_ops-build:torch=" TORCH_VERSION ";fingerprint=" GAN_OPS_FINGERPRINT ";";

// A family is the op, its backward, and its double backward where that is neither of the two. How they differentiate
// one another is registered in <family>.cpp.
TORCH_LIBRARY(gan_ops, m) {
  m.def("pixel_norm(Tensor x, float eps) -> (Tensor y, Tensor r)");
  m.def("pixel_norm_backward(Tensor grad, Tensor x, Tensor r, float eps) -> Tensor");
  m.def("pixel_norm_double_backward(Tensor v, Tensor grad, Tensor x, Tensor r, float eps) -> (Tensor, Tensor)");

  m.def("minibatch_stddev(Tensor x, int? group_size, int num_channels, float eps) -> Tensor");
  m.def("minibatch_stddev_backward(Tensor grad, Tensor x, int? group_size, int num_channels, float eps) -> Tensor");
  m.def(
      "minibatch_stddev_double_backward(Tensor v, Tensor grad, Tensor x, int? group_size, int num_channels, float eps)"
      " -> (Tensor, Tensor)");

  m.def("minibatch_discrimination(Tensor m, bool include_self) -> Tensor");
  m.def("minibatch_discrimination_backward(Tensor grad, Tensor m) -> Tensor");
  m.def(
      "minibatch_discrimination_double_backward(Tensor v, Tensor grad, Tensor m)"
      " -> (Tensor d_grad, Tensor d_m)");

  m.def("bias_act(Tensor x, Tensor? bias, float negative_slope, float gain, float scale=1.0) -> Tensor");
  m.def(
      "bias_act_backward(Tensor grad, Tensor y, bool with_bias, float negative_slope, float gain, float scale=1.0)"
      " -> (Tensor d_x, Tensor d_bias)");

  m.def(
      "bias_act_pixel_norm(Tensor x, Tensor? bias, float negative_slope, float eps, float scale=1.0) -> (Tensor y, "
      "Tensor r)");
  m.def(
      "bias_act_pixel_norm_backward(Tensor grad, Tensor x, Tensor? bias, Tensor r, bool with_bias, "
      "float negative_slope, float eps, float scale=1.0) -> (Tensor d_x, Tensor d_bias)");
  m.def(
      "bias_act_pixel_norm_double_backward(Tensor v, Tensor? v_bias, Tensor grad, Tensor x, Tensor? bias, Tensor r, "
      "bool with_bias, float negative_slope, float eps, float scale=1.0) -> (Tensor d_grad, Tensor d_x, Tensor "
      "d_bias)");

  m.def(
      "scale_bias_act(Tensor x, Tensor? scale, Tensor? bias, Tensor? noise, str act, float alpha, float gain,"
      " float? clamp) -> Tensor");
  m.def(
      "scale_bias_act_backward(Tensor grad, Tensor x, Tensor? scale, Tensor? bias, Tensor? noise, str act,"
      " float alpha, float gain, float? clamp, bool[4] wanted)"
      " -> (Tensor d_x, Tensor d_scale, Tensor d_bias, Tensor d_noise)");
  m.def(
      "scale_bias_act_double_backward(Tensor? v, Tensor? v_scale, Tensor? v_bias, Tensor? v_noise, Tensor grad,"
      " Tensor x, Tensor? scale, Tensor? bias, Tensor? noise, str act, float alpha, float gain, float? clamp,"
      " bool[5] wanted) -> (Tensor d_grad, Tensor d_x, Tensor d_scale, Tensor d_bias, Tensor d_noise)");

  m.def("fade_in(Tensor new, Tensor old, Tensor? fraction, float number) -> Tensor");
  m.def(
      "fade_in_backward(Tensor grad, Tensor? fraction, float number, bool channels_last)"
      " -> (Tensor d_new, Tensor d_old)");

  m.def(
      "filtered_lrelu(Tensor x, Tensor? up_filter, Tensor? down_filter, Tensor? bias, int up, int down, int[] padding,"
      " float gain, float slope, float? clamp, bool flip, bool with_codes=False) -> (Tensor y, Tensor codes)");
  m.def(
      "filtered_lrelu_masked(Tensor x, Tensor codes, Tensor? up_filter, Tensor? down_filter, Tensor? bias, int up,"
      " int down, int[] padding, float gain, float slope, bool flip, SymInt[] size, bool channels_last, bool "
      "transposed, bool with_sums)"
      " -> (Tensor y, Tensor sums)");

  m.def(
      "virtual_batch_norm(Tensor x, Tensor reference_mean, Tensor reference_var, Tensor? weight, Tensor? bias,"
      " float own, float eps) -> (Tensor y, Tensor mean, Tensor rstd)");
  m.def(
      "virtual_batch_norm_backward(Tensor grad, Tensor x, Tensor mean, Tensor rstd, Tensor reference_mean,"
      " Tensor reference_var, Tensor? weight, float own, float eps, bool with_x, bool with_channels)"
      " -> (Tensor d_x, Tensor d_weight, Tensor d_bias, Tensor d_reference_mean, Tensor d_reference_var)");
  m.def(
      "virtual_batch_norm_double_backward(Tensor? v, Tensor? v_weight, Tensor? v_bias, Tensor? v_reference_mean,"
      " Tensor? v_reference_var, Tensor grad, Tensor x, Tensor mean, Tensor rstd, Tensor reference_mean,"
      " Tensor reference_var, Tensor? weight, float own, float eps, bool with_channels)"
      " -> (Tensor d_grad, Tensor d_x, Tensor d_weight, Tensor d_reference_mean, Tensor d_reference_var)");

  m.def("gradient_penalty(Tensor gradient, float target, bool one_sided) -> (Tensor penalty, Tensor norm)");
  m.def("gradient_penalty_backward(Tensor grad, Tensor gradient, Tensor norm, float target, bool one_sided) -> Tensor");
  m.def(
      "gradient_penalty_double_backward(Tensor v, Tensor grad, Tensor gradient, Tensor norm, float target,"
      " bool one_sided) -> (Tensor, Tensor)");

  m.def("interpolate(Tensor real, Tensor fake, Tensor weight) -> Tensor");
  m.def(
      "interpolate_backward(Tensor grad, Tensor weight, bool with_real, bool with_fake)"
      " -> (Tensor d_real, Tensor d_fake)");
  m.def("interpolate_weight_grad(Tensor grad, Tensor real, Tensor fake) -> Tensor");

  m.def("historical_distance(Tensor[] parameters, Tensor[] averages, Tensor step) -> Tensor");
  m.def("historical_distance_backward(Tensor grad, Tensor[] parameters, Tensor[] averages, Tensor step) -> Tensor[]");
  m.def(
      "historical_distance_double_backward(Tensor[] v, Tensor grad, Tensor[] parameters, Tensor[] averages,"
      " Tensor step) -> (Tensor, Tensor[])");
  m.def("historical_update_(Tensor[] parameters, Tensor(a!)[] averages, Tensor? step, float number) -> ()");

  m.def("pair_distances(Tensor x, Tensor y, str metric) -> Tensor");
  m.def(
      "pair_distances_backward(Tensor grad, Tensor x, Tensor y, Tensor? distance, str metric, bool with_x, bool with_y)"
      " -> (Tensor d_x, Tensor d_y)");
  m.def(
      "pair_distances_double_backward(Tensor v_x, Tensor v_y, Tensor grad, Tensor x, Tensor y, Tensor? distance,"
      " str metric) -> (Tensor d_grad, Tensor d_x, Tensor d_y)");

  m.def("laplacian_patches(Tensor images, Tensor places, bool differences) -> (Tensor descriptors, Tensor smaller)");
  m.def("projected_wasserstein(Tensor a, Tensor b, Tensor rays, int? channels) -> Tensor");

  m.def(
      "upfirdn2d(Tensor x, Tensor? filter, int[] up, int[] down, SymInt[] padding, bool flip, float gain)"
      " -> Tensor");

  m.def(
      "attention(Tensor query, Tensor key, Tensor value, Tensor? bias, float? scale, bool causal)"
      " -> (Tensor out, Tensor log_sum)");
  m.def(
      "attention_backward(Tensor grad, Tensor query, Tensor key, Tensor value, Tensor? bias, Tensor log_sum,"
      " float? scale, bool causal, bool[4] wanted) -> (Tensor d_query, Tensor d_key, Tensor d_value, Tensor d_bias)");
  m.def(
      "attention_double_backward(Tensor? v_query, Tensor? v_key, Tensor? v_value, Tensor? v_bias, Tensor grad,"
      " Tensor query, Tensor key, Tensor value, Tensor? bias, Tensor log_sum, float? scale, bool causal,"
      " bool[5] wanted) -> (Tensor d_grad, Tensor d_query, Tensor d_key, Tensor d_value, Tensor d_bias)");

  m.def("grid_sample(Tensor input, Tensor grid, str mode, str padding_mode, bool align_corners) -> Tensor");
  m.def(
      "grid_sample_backward(Tensor grad, Tensor input, Tensor grid, str mode, str padding_mode, bool align_corners,"
      " bool[2] wanted) -> (Tensor d_input, Tensor d_grid)");
  m.def(
      "grid_sample_double_backward(Tensor? v_input, Tensor? v_grid, Tensor grad, Tensor input, Tensor grid, str mode,"
      " str padding_mode, bool align_corners, bool[3] wanted) -> (Tensor d_grad, Tensor d_input, Tensor d_grid)");

  m.def("conv2d(Tensor x, Tensor weight, Tensor? bias, int padding, int groups=1) -> Tensor");
  m.def("conv2d_input_grad(Tensor grad, Tensor weight, int padding, int groups=1) -> Tensor");
  m.def("conv2d_weight_grad(Tensor grad, Tensor x, int padding, int groups=1) -> Tensor");
}

}  // namespace gan_ops

PYBIND11_MODULE(_C, m) {
  m.doc() = "The compiled ops of gan_ops, registered as torch.ops.gan_ops.*; see python -m gan_ops.doctor.";
  m.attr("build") = gan_ops::kBuild;
  m.attr("torch_version") = TORCH_VERSION;
  m.attr("fingerprint") = GAN_OPS_FINGERPRINT;
  m.attr("compiler") = __VERSION__;
  m.attr("cuda_version") = gan_ops::kCudaVersion;
  m.attr("cuda_architectures") = GAN_OPS_CUDA_ARCHITECTURES;
  m.attr("instruction_set") = gan_ops::cpu::instruction_set_name();
}
