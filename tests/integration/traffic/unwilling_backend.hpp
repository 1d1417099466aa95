#pragma once

#include <memory>
#include <utility>

#include "traffic/backend.hpp"

namespace dualdeploy::testing {

/// What a test wants of an UnwillingBackend, and sees of it.
struct Will {
  bool refuses = false;
  int observations = 0;
};

/// A real backend whose transactions fail for as long as a test wants.
class UnwillingBackend final : public traffic::Backend {
  template <class T>
  using Done = boost::asio::awaitable<Expected<T>>;

 public:
  UnwillingBackend(std::unique_ptr<traffic::Backend> real, Will& will) : real_(std::move(real)), will_(will) {}

  std::string_view name() const override { return real_->name(); }
  bool installed() const override { return real_->installed(); }
  Done<void> usable() override { return real_->usable(); }
  Done<traffic::Observed> observe() override {
    ++will_.observations;
    return real_->observe();
  }
  bool same_as_observed() override { return real_->same_as_observed(); }
  Done<void> replace(const traffic::Rules& rules) override { return will_.refuses ? refuse() : real_->replace(rules); }
  Done<void> change(const traffic::ServiceRules& before, const traffic::ServiceRules& after, Milliseconds lease) override {
    return will_.refuses ? refuse() : real_->change(before, after, lease);
  }
  std::string preview(const traffic::ServiceRules& before, const traffic::ServiceRules& after, Milliseconds lease) const override {
    return real_->preview(before, after, lease);
  }
  Done<void> renew(const traffic::Rules& rules) override { return will_.refuses ? refuse() : real_->renew(rules); }
  Done<std::string> rescue() override { return real_->rescue(); }
  Done<void> remove() override { return will_.refuses ? refuse() : real_->remove(); }
  bool tells_of_changes() const override { return real_->tells_of_changes(); }
  void watch(Notices notices) override { real_->watch(std::move(notices)); }

 private:
  static Done<void> refuse() { co_return fail("refused by the test"); }

  std::unique_ptr<traffic::Backend> real_;
  Will& will_;
};

}  // namespace dualdeploy::testing
