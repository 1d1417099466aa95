#include "simulation/router.hpp"

#include <algorithm>
#include <memory>
#include <utility>

namespace dualdeploy::simulation {

namespace {
constexpr Milliseconds renewal_retry{1'000};
constexpr Milliseconds drift_check{5'000};
constexpr Milliseconds deadline_margin{1'000};
/// Of nft and of iptables-restore, with a second try.
constexpr Milliseconds least_deadline{5'000};
constexpr Milliseconds most_deadline{16'000};

std::optional<Error> error_if(bool failed) {
  return failed ? std::optional(Error{ErrorCode::failed, "nft: no"}) : std::nullopt;
}
}  // namespace

void Router::begin() {
  rules_.clear();
  established_ = keeping_ = doubtful_ = false;
  busy_until_ = time_.now();
}

Router::Transaction Router::draw() {
  Transaction transaction;
  transaction.refused = time_.happens(Fault::kernel_fails, 0.04);
  transaction.lost = time_.happens(Fault::replies_lost, 0.01);
  transaction.whole = time_.happens(Fault::kernel_fails, 0.02);
  transaction.takes = time_.happens(Fault::kernel_fails, 0.02) ? time_.between(500ms, 5s) : time_.between(1ms, 30ms);
  return transaction;
}

void Router::in_turn(const Transaction& transaction, std::function<void()> commit, std::function<void()> after) {
  const Instant commits = std::max(busy_until_, time_.now()) + transaction.takes;
  busy_until_ = commits + (transaction.lost ? time_.between(least_deadline, most_deadline) : 0ms);
  if (transaction.refused || transaction.lost) trouble_at_ = busy_until_;
  const std::uint64_t life = time_.life();
  time_.later(std::chrono::duration_cast<Milliseconds>(commits - time_.now()), Timeline::world,
              [this, life, boots = boots_, refused = transaction.refused, commit = std::move(commit)] {
                // systemd has killed the program that was to commit it, before the next agent; a reboot has, at once.
                if (life != time_.life() || boots != boots_) return;
                if (!refused) commit();
              });
  time_.later(std::chrono::duration_cast<Milliseconds>(busy_until_ - time_.now()), life, std::move(after));
}

void Router::establish(std::vector<ServiceRules> rules, Done done) {
  const Transaction transaction = draw();
  const auto wanted = std::make_shared<std::vector<ServiceRules>>(std::move(rules));
  in_turn(
      transaction,
      [this, wanted] {
        // What was carried out while this waited for its turn counts.
        if (established_) *wanted = rules_;
        kernel_.write_all(*wanted);
      },
      [this, wanted, transaction, done = std::move(done)] {
        const bool failed = transaction.refused || transaction.lost;
        if (!failed) {
          rules_ = *wanted;
          established_ = true;
          doubtful_ = false;
          if (!std::exchange(keeping_, true)) {
            keep_leases(false);
            keep_checking();
          }
        }
        done(error_if(failed));
      });
}

void Router::change(std::size_t service, const Alter& alter, bool way_home, Done done) {
  if (rules_.empty()) {
    time_.later(0ms, time_.life(), [done = std::move(done)] { done(Error{ErrorCode::failed, "no rules"}); });
    return;
  }
  const Transaction transaction = draw();
  in_turn(
      transaction,
      [this, service, alter, whole = transaction.whole] {
        std::vector<ServiceRules> all = rules_;
        alter(all[service]);
        // The kernel may not hold what we think: then everything is written.
        const bool alone = established_ && !whole && !doubtful_ && kernel_.has_table();
        if (alone) {
          kernel_.write(service, all[service]);
        } else {
          kernel_.write_all(all);
          doubtful_ = false;
        }
      },
      [this, service, alter, way_home, transaction, done = std::move(done)] {
        const bool failed = transaction.refused || transaction.lost;
        if (failed) doubtful_ = true;
        if (!failed || way_home) alter(rules_[service]);
        if (!failed) established_ = true;
        done(error_if(failed));
      });
}

void Router::set_route(std::size_t service, const Route& route, std::optional<Instant> until, Done done) {
  const auto alter = [route, until](ServiceRules& rules) {
    rules.planned = route;
    rules.active = !route.all_rpm();
    rules.until = until;
  };
  change(service, alter, route.all_rpm(), std::move(done));
}

void Router::hold(std::size_t service, std::optional<Instant> until, Done done) {
  change(service, [until](ServiceRules& rules) { rules.held_until = until; }, false, std::move(done));
}

void Router::stand_down(Done done) {
  const Transaction transaction = draw();
  in_turn(transaction, [this] { kernel_.clear(); },
          [this, transaction, done = std::move(done)] {
            const bool failed = transaction.refused || transaction.lost;
            if (!failed) {
              established_ = doubtful_ = false;
              std::ranges::fill(rules_, ServiceRules{});
            }
            done(error_if(failed));
          });
}

void Router::keep_leases(bool failing) {
  time_.later(failing ? renewal_retry : lease / 3, time_.life(), [this] {
    if (!established_) return keep_leases(false);
    const Transaction transaction = draw();
    in_turn(
        transaction,
        [this] {
          if (kernel_.has_table()) {
            kernel_.renew(rules_);
          } else {
            kernel_.write_all(rules_);
          }
        },
        [this, transaction] { keep_leases(transaction.refused || transaction.lost); });
  });
}

void Router::keep_checking() {
  time_.later(drift_check, time_.life(), [this] {
    check();
    keep_checking();
  });
}

void Router::check() {
  if (!established_ || at_a_deadline() || kernel_.holds(rules_)) return;
  in_turn(
      draw(),
      [this] {
        if (established_ && !kernel_.holds(rules_)) kernel_.write_all(rules_);
      },
      [] {});
}

bool Router::at_a_deadline() const {
  const Instant now = time_.now();
  const Instant soon = now + deadline_margin;
  return std::ranges::any_of(rules_, [now, soon](const ServiceRules& rules) {
    const bool hold_ends = rules.held_until && now - deadline_margin <= *rules.held_until && *rules.held_until <= soon;
    return (rules.active && rules.until && *rules.until <= soon) || hold_ends;
  });
}

void Router::foreign_change() {
  if (time_.alive()) time_.later(time_.between(10ms, 100ms), time_.life(), [this] { check(); });
}

void Router::clock_was_set() {
  if (!time_.alive() || kernel_.backend() != Backend::iptables) return;
  time_.later(time_.between(1ms, 20ms), time_.life(), [this] {
    if (!established_) return;
    in_turn(draw(), [this] { kernel_.renew(rules_); }, [] {});
  });
}

}  // namespace dualdeploy::simulation
