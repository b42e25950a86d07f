// The historical family: checks, allocation, dispatch, and how its ops differentiate one another.
#include "historical.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "op.h"

namespace gan_ops {
namespace historical_family {

using at::TensorList;

std::string place(const char* list, size_t i) {
  return std::string(list) + "[" + std::to_string(i) + "]";
}

void check_step(const Tensor& step, const Tensor& parameter) {
  TORCH_CHECK_VALUE(step.dim() == 0, "step must be a number or a 0-d tensor, but its shape is ", step.sizes());
  TORCH_CHECK_VALUE(step.is_cpu() || step.device() == parameter.device(), "step must be on the CPU or on ",
                    parameter.device(), ", but is on ", step.device());
}

void check_lists(TensorList parameters, TensorList averages) {
  TORCH_CHECK_VALUE(!parameters.empty(), "parameters must not be empty (an iterator that has been used up?)");
  TORCH_CHECK_VALUE(averages.size() == parameters.size(), "averages must be as many as the ", parameters.size(),
                    " parameters, but are ", averages.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Tensor &parameter = parameters[i], &average = averages[i];
    // Names are made where something is wrong only.
    const auto type = parameter.scalar_type();
    if (type != at::kFloat) dtype_of(parameter, place("parameters", i).c_str());
    TORCH_CHECK_VALUE(parameter.device() == parameters[0].device(), place("parameters", i), " must be on ",
                      parameters[0].device(), ", but is on ", parameter.device());
    TORCH_CHECK_VALUE(average.sizes() == parameter.sizes(), place("averages", i), " must have the shape ",
                      parameter.sizes(), ", but has ", average.sizes());
    TORCH_CHECK_TYPE(average.scalar_type() == type || average.scalar_type() == accumulate_type(parameter),
                     place("averages", i), " must be ", type, " or ", accumulate_type(parameter), ", but is ",
                     average.scalar_type());
    TORCH_CHECK_VALUE(average.device() == parameter.device(), place("averages", i), " must be on ", parameter.device(),
                      ", but is on ", average.device());
  }
}

/// The type of the distance: float64 if any parameter is, else float32.
at::ScalarType distance_type(TensorList parameters) {
  const auto is_wide = [](const Tensor& t) { return t.scalar_type() == at::kDouble; };
  return std::any_of(parameters.begin(), parameters.end(), is_wide) ? at::kDouble : at::kFloat;
}

/// `tensor` without gaps, its axes in whatever order they are.
Tensor without_gaps(const Tensor& tensor) {
  return tensor.is_non_overlapping_and_dense() ? tensor : tensor.clone(at::MemoryFormat::Preserve);
}

/// `tensor` with the memory layout of `like`, which has no gaps.
Tensor laid_out_like(const Tensor& tensor, const Tensor& like) {
  if (tensor.strides() == like.strides()) return tensor;
  return at::empty_like(like, tensor.options()).copy_(tensor);
}

/// The step for kernels, and what keeps its memory alive.
struct StepOnDevice {
  Tensor storage;
  HistoricalStep step;
  explicit StepOnDevice(double number) : step{number, nullptr} {}
  explicit StepOnDevice(const Tensor& given) : storage(given.to(at::kDouble)) {
    const double* data = storage.const_data_ptr<double>();
    step = storage.is_cpu() ? HistoricalStep{*data, nullptr} : HistoricalStep{0, data};
  }
};

/// The lists as kernels take them: groups of one type each, made without gaps. Holds what had to be copied.
class Groups {
 public:
  struct Part {
    Tensor parameter, average;  // the first of their types
    std::vector<HistoricalTensor> tensors;
    int64_t chunks = 0;
  };

  explicit Groups(size_t tensors) { held_.reserve(3 * tensors); }

  void add(const Tensor& parameter, const Tensor& average, const Tensor& v, const Tensor& out) {
    Part& part = part_like(parameter, average);
    part.tensors.push_back({parameter.const_data_ptr(), average.const_data_ptr(),
                            v.defined() ? v.const_data_ptr() : nullptr,
                            out.defined() ? out.mutable_data_ptr() : nullptr, parameter.numel(), part.chunks});
    const int64_t chunks = (parameter.numel() + kHistoricalChunk - 1) / kHistoricalChunk;
    part.chunks += chunks;
    chunks_ += chunks;
    for (const Tensor* tensor : {&parameter, &average, &v}) held_.push_back(*tensor);
  }

  int64_t chunks() const { return chunks_; }

  /// run(group, its first chunk among those of all groups, a parameter of it)
  template <class Run>
  void for_each(const HistoricalStep& step, const Run& run) const {
    int64_t before = 0;
    for (const Part& part : parts_) {
      run(HistoricalGroup{part.tensors.data(), static_cast<int64_t>(part.tensors.size()), part.chunks,
                          part.average.scalar_type() != part.parameter.scalar_type(), step},
          before, part.parameter);
      before += part.chunks;
    }
  }

 private:
  Part& part_like(const Tensor& parameter, const Tensor& average) {
    for (Part& part : parts_)
      if (part.parameter.scalar_type() == parameter.scalar_type() &&
          part.average.scalar_type() == average.scalar_type())
        return part;
    parts_.push_back({parameter, average, {}, 0});
    parts_.back().tensors.reserve(held_.capacity() / 3);
    return parts_.back();
  }

  std::vector<Part> parts_;
  Tensors held_;
  int64_t chunks_ = 0;
};

/// The lists as the distance and its derivatives take them; `v` and `out` may be empty.
Groups make_groups(TensorList parameters, TensorList averages, TensorList v, TensorList out) {
  Groups groups(parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Tensor parameter = without_gaps(parameters[i]);
    groups.add(parameter, laid_out_like(averages[i], parameter), v.empty() ? Tensor() : laid_out_like(v[i], parameter),
               out.empty() ? Tensor() : out[i]);
  }
  return groups;
}

Tensors empty_gradients(TensorList parameters) {
  Tensors gradients;
  gradients.reserve(parameters.size());
  for (const Tensor& parameter : parameters) gradients.push_back(at::empty_like(parameter));
  return gradients;
}

Tensor float64_scratch(const Tensor& like, int64_t count) {
  return at::empty({count}, like.options().dtype(at::kDouble));
}

/// The sum of partial, times 2 k² `factor`, as a 0-d tensor of `type`.
Tensor summed(const Tensor& partial, const HistoricalStep& step, double factor, at::ScalarType type) {
  Tensor total = at::empty({}, partial.options());
  run_kernel(HistoricalSumArgs{partial.const_data_ptr<double>(), partial.numel(), total.mutable_data_ptr<double>(),
                               step, factor},
             total);
  return total.to(type);
}

// ---- Kernels' entry points ----

Tensor historical_distance(TensorList parameters, TensorList averages, const Tensor& step_any) {
  check_lists(parameters, averages);
  check_step(step_any, parameters[0]);
  const StepOnDevice at_step(step_any);
  const Groups groups = make_groups(parameters, averages, {}, {});
  Tensor partial = float64_scratch(parameters[0], groups.chunks());
  groups.for_each(at_step.step, [&](const HistoricalGroup& group, int64_t before, const Tensor& like) {
    run_kernel(HistoricalDistanceArgs{group, partial.mutable_data_ptr<double>() + before}, like);
  });
  return summed(partial, at_step.step, 0.5, distance_type(parameters));
}

void check_grad(const Tensor& grad, TensorList parameters) {
  check_matches(grad, "grad", {}, distance_type(parameters), parameters[0].device());
}

Tensors historical_distance_backward(const Tensor& grad_any, TensorList parameters, TensorList averages,
                                     const Tensor& step_any) {
  check_lists(parameters, averages);
  check_step(step_any, parameters[0]);
  check_grad(grad_any, parameters);
  const StepOnDevice at_step(step_any);
  const Tensor grad = grad_any.to(at::kDouble);
  Tensors gradients = empty_gradients(parameters);
  const Groups groups = make_groups(parameters, averages, {}, gradients);
  groups.for_each(at_step.step, [&](const HistoricalGroup& group, int64_t, const Tensor& like) {
    run_kernel(HistoricalBackwardArgs{group, grad.const_data_ptr<double>()}, like);
  });
  return gradients;
}

std::tuple<Tensor, Tensors> historical_distance_double_backward(TensorList v, const Tensor& grad_any,
                                                                TensorList parameters, TensorList averages,
                                                                const Tensor& step_any) {
  check_lists(parameters, averages);
  check_step(step_any, parameters[0]);
  check_grad(grad_any, parameters);
  TORCH_CHECK_VALUE(v.size() == parameters.size(), "v must be as many as the ", parameters.size(),
                    " parameters, but are ", v.size());
  for (size_t i = 0; i < v.size(); ++i)
    check_matches(v[i], "each of v", parameters[i].sizes(), parameters[i].scalar_type(), parameters[i].device());
  const StepOnDevice at_step(step_any);
  const Tensor grad = grad_any.to(at::kDouble);
  Tensors gradients = empty_gradients(parameters);
  const Groups groups = make_groups(parameters, averages, v, gradients);
  Tensor partial = float64_scratch(grad, groups.chunks());
  groups.for_each(at_step.step, [&](const HistoricalGroup& group, int64_t before, const Tensor& like) {
    run_kernel(
        HistoricalDoubleBackwardArgs{group, grad.const_data_ptr<double>(), partial.mutable_data_ptr<double>() + before},
        like);
  });
  return {summed(partial, at_step.step, 1, grad_any.scalar_type()), gradients};
}

/// The step as a 0-d tensor or as a number: making a tensor would take as long as the update of a small network.
void historical_update_(TensorList parameters, TensorList averages, const MaybeTensor& step_any, double number) {
  check_lists(parameters, averages);
  if (step_any)
    check_step(*step_any, parameters[0]);
  else
    TORCH_CHECK_VALUE(number >= 1, "step must be at least 1, but is ", number);
  const StepOnDevice at_step = step_any ? StepOnDevice(*step_any) : StepOnDevice(number);
  Groups groups(parameters.size());
  Tensors moved;  // the averages, those with gaps as copies without
  moved.reserve(parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    moved.push_back(without_gaps(averages[i]));
    groups.add(laid_out_like(parameters[i], moved[i]), moved[i], Tensor(), moved[i]);
  }
  groups.for_each(at_step.step, [&](const HistoricalGroup& group, int64_t, const Tensor& like) {
    run_kernel(HistoricalUpdateArgs{group}, like);
  });
  for (size_t i = 0; i < moved.size(); ++i)
    if (!moved[i].is_same(averages[i])) averages[i].copy_(moved[i]);
}

// ---- Derivatives ----

constexpr Op<"historical_distance", historical_distance> op;
constexpr Op<"historical_distance_backward", historical_distance_backward> backward_op;
constexpr Op<"historical_distance_double_backward", historical_distance_double_backward> double_backward_op;
constexpr Op<"historical_update_", historical_update_> update_op;

// Averages and step are constants: state, which moves by historical_update_ alone.

bool any_requires_grad(TensorList tensors) {
  return std::any_of(tensors.begin(), tensors.end(), [](const Tensor& t) { return t.requires_grad(); });
}

void check_constant(TensorList averages, const MaybeTensor& step) {
  TORCH_CHECK_VALUE(!any_requires_grad(averages), "averages must not require gradients: they are constants");
  TORCH_CHECK_VALUE(!step || !step->requires_grad(), "step must not require a gradient: it is a constant");
}

Tensors joined(TensorList parameters, TensorList averages, const Tensor& step) {
  Tensors all(parameters.begin(), parameters.end());
  all.insert(all.end(), averages.begin(), averages.end());
  all.push_back(step);
  return all;
}

/// What `joined` put together, for those places of the lists that `counts` says yes to.
struct Selection {
  Tensors parameters, averages;
  std::vector<size_t> places;
  Tensor step;

  template <class Counts>
  Selection(const Tensors& saved, size_t offset, const Counts& counts) : step(saved.back()) {
    const size_t count = (saved.size() - offset - 1) / 2;
    for (size_t i = 0; i < count; ++i)
      if (counts(i)) {
        parameters.push_back(saved[offset + i]);
        averages.push_back(saved[offset + count + i]);
        places.push_back(i);
      }
  }
};

Tensors derivative(const Kept& kept, const Tensors& grads) {
  const Selection of(kept.tensors(), 0, [&](size_t i) { return kept.wants(i); });
  if (of.places.empty()) return {};
  Tensors out(kept.tensors().size());
  // Among the rest, none may be of the type that made the distance float64.
  const Tensor grad = grads[0].to(distance_type(of.parameters));
  const auto gradients = backward_op(grad, of.parameters, of.averages, of.step);
  for (size_t k = 0; k < gradients.size(); ++k) out[of.places[k]] = gradients[k];
  return out;
}

Tensor historical_distance_autograd(TensorList parameters, TensorList averages, const Tensor& step) {
  check_constant(averages, step);
  return recorded(parameters, derivative, [&](const Keep& keep) {
    if (keep) keep(joined(parameters, averages, step));
    return op.below_autograd(parameters, averages, step);
  });
}

Tensors derivative_of_backward(const Kept& kept, const Tensors& v) {
  const Selection of(kept.tensors(), 1, [&](size_t i) { return v[i].defined(); });
  Tensors out(kept.tensors().size()), cotangents;
  for (const size_t i : of.places) cotangents.push_back(v[i]);
  auto [d_grad, gradients] = double_backward_op(cotangents, kept[0], of.parameters, of.averages, of.step);
  out[0] = d_grad;
  for (size_t k = 0; k < gradients.size(); ++k) out[1 + of.places[k]] = gradients[k];
  return out;
}

Tensors historical_distance_backward_autograd(const Tensor& grad, TensorList parameters, TensorList averages,
                                              const Tensor& step) {
  check_constant(averages, step);
  Tensors inputs{grad};
  inputs.insert(inputs.end(), parameters.begin(), parameters.end());
  return recorded(TensorList(inputs), derivative_of_backward, [&](const Keep& keep) {
    if (keep) {
      Tensors saved = joined(parameters, averages, step);
      saved.insert(saved.begin(), grad);
      keep(std::move(saved));
    }
    return backward_op.below_autograd(grad, parameters, averages, step);
  });
}

std::tuple<Tensor, Tensors> double_backward_formula(TensorList v, const Tensor& grad, TensorList parameters,
                                                    TensorList averages, const Tensor& step) {
  const Tensor wide_step = step.to(grad.options()), k = 1 - wide_step.reciprocal(), slope = 2 * k * k;
  Tensor d_grad;
  Tensors gradients;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto type = accumulate_type(parameters[i]);
    const Tensor gap = (parameters[i].to(type) - averages[i].to(type)).masked_fill(wide_step == 1, 0);
    const Tensor term = (v[i].to(type) * gap).sum().to(grad.scalar_type());
    d_grad = d_grad.defined() ? d_grad + term : term;
    gradients.push_back((slope * grad * v[i].to(type)).to(parameters[i].scalar_type()));
  }
  return {slope * d_grad, gradients};
}

std::tuple<Tensor, Tensors> historical_distance_double_backward_autograd(TensorList v, const Tensor& grad,
                                                                         TensorList parameters, TensorList averages,
                                                                         const Tensor& step) {
  check_constant(averages, step);
  if (records_gradient(v) || records_gradient(parameters) || records_gradient({grad}))
    return double_backward_formula(v, grad, parameters, averages, step);
  return double_backward_op.below_autograd(v, grad, parameters, averages, step);
}

void historical_update_autograd(TensorList parameters, TensorList averages, const MaybeTensor& step, double number) {
  check_constant(averages, step);
  const at::AutoDispatchBelowAutograd guard;
  update_op(parameters, averages, step, number);
}

/// Under a key that inference mode keeps: a graph that has saved an average must notice there too.
void historical_update_in_place(TensorList parameters, TensorList averages, const MaybeTensor& step, double number) {
  update_op.below_autograd(parameters, averages, step, number);
  for (const Tensor& average : averages) average.unsafeGetTensorImpl()->bump_version();
}

const Registration registrations[] = {
    {op, historical_distance_autograd},
    {backward_op, historical_distance_backward_autograd},
    {double_backward_op, historical_distance_double_backward_autograd},
    {update_op, historical_update_autograd},
};
TORCH_LIBRARY_IMPL(gan_ops, ADInplaceOrView, m) {
  m.impl("historical_update_", historical_update_in_place);
}

}  // namespace historical_family
}  // namespace gan_ops
