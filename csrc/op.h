// An op of a family: its name, its kernels, how it is called, and how autograd records it. What all families would say
// alike is here and in op.cpp. custom_function.h, which takes a compiler ten seconds, is in op.cpp alone.
#pragma once

#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/util/FunctionRef.h>
#include <torch/library.h>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "common.h"

namespace torch::autograd {
struct AutogradContext;
}

namespace gan_ops {

// ---- Calls ----

/// A string as a template's argument.
template <size_t size>
struct Name {
  char text[size];
  constexpr Name(const char (&given)[size]) { std::copy_n(given, size, text); }
};

/// The op gan_ops::`name`; `kernel` is its entry point on every device that has it.
template <Name name, auto kernel>
struct Op;

template <Name name, class Result, class... Arguments, Result (*kernel)(Arguments...)>
struct Op<name, kernel> {
  /// Through the dispatcher: autograd sees it.
  Result operator()(Arguments... arguments) const { return handle().call(std::forward<Arguments>(arguments)...); }

  /// Through the dispatcher, past autograd.
  Result below_autograd(Arguments... arguments) const {
    const at::AutoDispatchBelowADInplaceOrView guard;
    return handle().call(std::forward<Arguments>(arguments)...);
  }

 private:
  static const c10::TypedOperatorHandle<Result(Arguments...)>& handle() {
    static const auto found = c10::Dispatcher::singleton()
                                  .findSchemaOrThrow((std::string("gan_ops::") + name.text).c_str(), "")
                                  .template typed<Result(Arguments...)>();
    return found;
  }
};

/// Registers an op's kernels, on the CPU and CUDA, and what autograd runs above them, for as long as it lives.
class Registration {
 public:
  template <Name name, auto kernel>
  Registration(Op<name, kernel>, decltype(kernel) autograd) {
    cpu_.impl(name.text, kernel);
    cuda_.impl(name.text, kernel);
    autograd_.impl(name.text, autograd);
  }

 private:
  static torch::Library library(c10::DispatchKey key) {
    return torch::Library(torch::Library::IMPL, "gan_ops", key, __FILE__, __LINE__);
  }
  torch::Library cpu_ = library(c10::DispatchKey::CPU), cuda_ = library(c10::DispatchKey::CUDA),
                 autograd_ = library(c10::DispatchKey::Autograd);
};

// ---- Derivatives ----

// An op's derivative is the next op. Third and higher derivatives are rare: for them a formula in torch's own ops takes
// the place of the double backward's kernel, and torch differentiates it.
//
// Undefined cotangents, which stand for zero, are not turned into tensors of zeros, and derivatives that are zero for
// certain are undefined: so layers below them cost nothing (in a gradient penalty: all above the last nonlinear one).

using Tensors = std::vector<Tensor>;

inline Tensors as_list(std::initializer_list<Argument> arguments) {
  Tensors tensors;
  tensors.reserve(arguments.size());
  for (const Argument& argument : arguments) tensors.push_back(argument.tensor);
  return tensors;
}

/// What a recorded op keeps for its derivative; does nothing where nobody records it.
class Keep {
 public:
  explicit Keep(torch::autograd::AutogradContext* context = nullptr) : context_(context) {}

  /// Tensors, which the derivative finds as kept[0], kept[1], …, and options, which it finds as kept.options<…>():
  /// numbers, strings, types, layouts, optional numbers.
  template <class... Options>
  void operator()(std::initializer_list<Argument> tensors, const Options&... options) const {
    if (context_ != nullptr) save(as_list(tensors), {c10::IValue(options)...});
  }
  void operator()(Tensors tensors) const {
    if (context_ != nullptr) save(std::move(tensors), {});
  }

  /// Whether anything is kept: lists that take long to make need not be made otherwise.
  explicit operator bool() const { return context_ != nullptr; }

  /// Outputs that have no gradient.
  void constants(std::initializer_list<Tensor> outputs) const;

 private:
  void save(Tensors tensors, std::vector<c10::IValue> options) const;
  torch::autograd::AutogradContext* context_;
};

/// What a derivative finds.
class Kept {
 public:
  explicit Kept(torch::autograd::AutogradContext& context);

  const Tensor& operator[](size_t i) const { return tensors_[i]; }
  const Tensors& tensors() const { return tensors_; }

  template <class... Options>
  std::tuple<Options...> options() const {
    return options_as<Options...>(std::index_sequence_for<Options...>());
  }

  /// Whether somebody wants the gradient of the input with this number; nobody wants that of an absent one.
  bool wants(size_t input) const;

 private:
  template <class... Options, size_t... i>
  std::tuple<Options...> options_as(std::index_sequence<i...>) const {
    return {options_.at(i).template to<Options>()...};
  }
  torch::autograd::AutogradContext& context_;
  Tensors tensors_;
  std::vector<c10::IValue> options_;
};

/// The gradients of a recorded op's inputs, in their order, given those of its outputs, of which one at least is
/// defined. Those of the last inputs may be left out.
using Derivative = Tensors (*)(const Kept& kept, const Tensors& grads);

inline Tensors as_list(Tensors outputs) {
  return outputs;
}
inline Tensors as_list(at::TensorList inputs) {
  return inputs.vec();
}
inline Tensors as_list(const Tensor& output) {
  return {output};
}
template <class... T>
Tensors as_list(const std::tuple<T...>& outputs) {
  return std::apply([](const auto&... each) { return Tensors{each...}; }, outputs);
}

template <class Result>
Result from_list(const Tensors& outputs) {
  if constexpr (std::is_same_v<Result, Tensors>) {
    return outputs;
  } else if constexpr (std::is_same_v<Result, Tensor>) {
    return outputs[0];
  } else {
    return [&]<size_t... i>(std::index_sequence<i...>) {
      return Result{outputs[i]...};
    }(std::make_index_sequence<std::tuple_size_v<Result>>());
  }
}

/// Runs and records an op of `inputs`.
Tensors record(const Tensors& inputs, Derivative derivative, c10::function_ref<Tensors(const Keep&)> run);

/// What `run` returns, an op's outputs; with that derivative to `inputs` if anybody differentiates one of these.
template <class Inputs, class Run>
auto recorded(const Inputs& inputs, Derivative derivative, const Run& run) {
  using Result = std::invoke_result_t<const Run&, const Keep&>;
  if (!records_gradient(inputs)) return run(Keep());
  return from_list<Result>(record(as_list(inputs), derivative, [&](const Keep& keep) { return as_list(run(keep)); }));
}
template <class Run>
auto recorded(std::initializer_list<Argument> inputs, Derivative derivative, const Run& run) {
  return recorded<std::initializer_list<Argument>, Run>(inputs, derivative, run);
}

}  // namespace gan_ops
