#include "polled_descriptor.hh"

#include <utility>

namespace vmm {

void PolledDescriptor::open(const Napi::Object& self, FileDescriptor fd, const Napi::Function& onReady) {
  Environment& environment = Environment::of(self.Env());
  onReady_ = Napi::Persistent(onReady);
  poll_ = environment.openPoll(fd.get(), onPoll, this);
  if (poll_ == nullptr) throw Napi::Error::New(self.Env(), "no memory for a poll handle");
  environment_ = &environment;
  fd_ = std::move(fd);
  polled_ = wanted_ = UV_READABLE;
  environment.add(*this);
  self_ = Napi::Persistent(self);
}

void PolledDescriptor::close() noexcept {
  if (poll_ == nullptr) return;
  environment_->closePoll(std::exchange(poll_, nullptr));
  environment_->remove(*this);
  fd_.reset();
  onReady_.Reset();
  self_.Reset();
}

void PolledDescriptor::want(int events) noexcept {
  wanted_ |= events;
  if (!inCallback_) update();
}

void PolledDescriptor::update() noexcept {
  if (poll_ == nullptr || wanted_ == polled_) return;
  polled_ = wanted_;
  if (wanted_ == 0) uv_poll_stop(poll_);
  else uv_poll_start(poll_, wanted_, onPoll);
}

void PolledDescriptor::onPoll(uv_poll_t* poll, int status, int events) {
  auto* const self = static_cast<PolledDescriptor*>(poll->data);
  // Whatever is wrong, the next read says it.
  if (status < 0) {
    events = self->polled_;
    self->polled_ = 0;
  }
  self->wanted_ &= ~events;
  self->inCallback_ = true;
  const Napi::Env env = self->environment_->env();
  const Napi::HandleScope scope(env);
  // Keeps it alive when the callback closes it.
  const Napi::Object object = self->self_.Value();
  const napi_value argument = Napi::Number::New(env, events);
  callFromLoop(env, object, self->onReady_.Value(), 1, &argument);
  self->inCallback_ = false;
  self->update();
}

}  // namespace vmm
