// How autograd records an op.
#include "op.h"

#include <torch/csrc/autograd/custom_function.h>

namespace gan_ops {
namespace {

using torch::autograd::AutogradContext;

// Keys of saved_data.
constexpr const char* kDerivative = "derivative";  // a Derivative, as a number
constexpr const char* kInputs = "inputs";          // how many, absent ones included
constexpr const char* kAbsent = "absent";          // bit i says that input i is absent; inputs from 64 on never are
constexpr const char* kOptions = "options";

bool is_absent(int64_t absent, size_t input) {
  return input < 64 && (static_cast<uint64_t>(absent) >> input & 1) != 0;
}

/// Every recorded op: one class, since what differs is data.
struct Recorded : torch::autograd::Function<Recorded> {
  static Tensors forward(AutogradContext* context, at::TensorList /*present*/, Derivative derivative, size_t inputs,
                         uint64_t absent, c10::function_ref<Tensors(const Keep&)> run) {
    context->set_materialize_grads(false);
    context->saved_data[kDerivative] = static_cast<int64_t>(reinterpret_cast<intptr_t>(derivative));
    context->saved_data[kInputs] = static_cast<int64_t>(inputs);
    context->saved_data[kAbsent] = static_cast<int64_t>(absent);
    return run(Keep(context));
  }

  static Tensors backward(AutogradContext* context, const Tensors& grads) {
    const auto inputs = static_cast<size_t>(context->saved_data[kInputs].toInt());
    const int64_t absent = context->saved_data[kAbsent].toInt();
    Tensors gradients;
    if (std::any_of(grads.begin(), grads.end(), [](const Tensor& grad) { return grad.defined(); })) {
      const auto derivative = reinterpret_cast<Derivative>(context->saved_data[kDerivative].toInt());
      gradients = derivative(Kept(*context), grads);
    }
    gradients.resize(inputs);
    Tensors present;
    for (size_t i = 0; i < inputs; ++i)
      if (!is_absent(absent, i)) present.push_back(gradients[i]);
    present.resize(present.size() + 4);  // the other arguments of forward
    return present;
  }
};

}  // namespace

void Keep::save(Tensors tensors, std::vector<c10::IValue> options) const {
  context_->save_for_backward(std::move(tensors));
  context_->saved_data[kOptions] = c10::ivalue::Tuple::create(std::move(options));
}
void Keep::constants(std::initializer_list<Tensor> outputs) const {
  if (context_ != nullptr) context_->mark_non_differentiable(outputs);
}

Kept::Kept(AutogradContext& context) : context_(context), tensors_(context.get_saved_variables()) {
  const auto options = context.saved_data.find(kOptions);
  if (options != context.saved_data.end()) options_ = options->second.toTupleRef().elements().vec();
}

bool Kept::wants(size_t input) const {
  const int64_t absent = context_.saved_data[kAbsent].toInt();
  if (is_absent(absent, input)) return false;
  size_t edge = 0;
  for (size_t i = 0; i < input; ++i) edge += is_absent(absent, i) ? 0 : 1;
  return context_.needs_input_grad(edge);
}

Tensors record(const Tensors& inputs, Derivative derivative, c10::function_ref<Tensors(const Keep&)> run) {
  Tensors present;
  uint64_t absent = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].defined()) {
      present.push_back(inputs[i]);
    } else {
      TORCH_INTERNAL_ASSERT(i < 64);
      absent |= uint64_t{1} << i;
    }
  }
  return Recorded::apply(at::TensorList(present), derivative, inputs.size(), absent, run);
}

}  // namespace gan_ops
