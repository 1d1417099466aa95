#include "traffic/nft_backend.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <optional>
#include <vector>

#include "host/clock.hpp"
#include "host/command.hpp"
#include "host/spawn.hpp"
#include "host/text.hpp"
#include "traffic/generation_watch.hpp"
#include "traffic/nat_keeper.hpp"
#include "traffic/nft_script.hpp"

namespace dualdeploy::traffic {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

/// One transaction of ours, on its way through nft. It is done once the kernel tells that it is committed, or, unheard, when
/// nft has ended: that takes longer, since the kernel lets nobody close a netlink socket until what a transaction replaced has
/// been released.
struct Transaction {
  explicit Transaction(const asio::any_io_executor& executor) : outcome(executor, 1) {}
  std::uint32_t port_id = 0;  ///< nft's netlink port: its pid.
  asio::experimental::channel<void(error_code, Expected<void>)> outcome;  ///< The first one counts.
};

/// Runs nft to its end. Errors: it could not be run or did not end in time; its own first line.
asio::awaitable<Expected<void>> run_nft(host::Command command) {
  auto result = co_await host::run_command(std::move(command));
  if (!result) co_return std::unexpected(std::move(result.error()).within("nft"));
  if (result->exit_status != 0) co_return fail("nft: " + host::first_line(result->error));
  co_return Expected<void>{};
}

asio::awaitable<void> carry_out(std::shared_ptr<Transaction> transaction, std::string script) {
  host::Command command;
  command.argv = {"nft", "-f", "-"};
  command.input = std::move(script);
  command.on_start = [transaction](pid_t pid) { transaction->port_id = static_cast<std::uint32_t>(pid); };
  auto ended = co_await run_nft(std::move(command));
  transaction->outcome.try_send(error_code{}, std::move(ended));
}

class NftBackend final : public Backend {
 public:
  explicit NftBackend(asio::any_io_executor executor) : executor_(std::move(executor)) {}

  std::string_view name() const override { return "nftables"; }
  bool installed() const override { return host::is_installed("nft"); }

  asio::awaitable<Expected<void>> usable() override {
    // Everything a table can hold, in check mode: the kernel itself says whether it understands it.
    Rules sample;
    ServiceRules service{.name = "sample", .ports = {config::Port{.front = 1, .rpm = 2, .container = 3}},
                         .planned = Route::to(Side::container), .active = true};
    sample.services.emplace(service.name, service);
    host::Command command;
    command.argv = {"nft", "--check", "-f", "-"};
    command.input = render_table(sample, host::now());
    co_return co_await run_nft(std::move(command));
  }

  /// Any change since then has made another generation.
  bool same_as_observed() override {
    const auto now = nftables_generation();
    return now && observed_generation_ == *now;
  }

  asio::awaitable<Expected<Observed>> observe() override {
    const auto generation = nftables_generation();
    observed_generation_ = generation ? std::optional(*generation) : std::nullopt;
    host::Command command;
    command.argv = {"nft", "-j", "list", "table", "inet", "dualdeploy"};
    host::CommandLimits limits;
    limits.output_bytes = 16 * 1024 * 1024;
    auto result = co_await host::run_command(std::move(command), limits);
    if (!result) co_return std::unexpected(std::move(result.error()).within("nft list"));
    if (result->exit_status != 0) {
      if (result->error.find("No such file or directory") != std::string::npos) co_return Observed{};
      co_return fail("nft list: " + host::first_line(result->error));
    }
    co_return parse_listing(result->output);
  }

  asio::awaitable<Expected<void>> replace(const Rules& rules) override { return commit(render_table(rules, host::now())); }
  asio::awaitable<Expected<void>> change(const ServiceRules& before, const ServiceRules& after,
                                         Milliseconds lease) override {
    return commit(render_change(before, after, lease, host::now()));
  }
  std::string preview(const ServiceRules& before, const ServiceRules& after, Milliseconds lease) const override {
    return render_change(before, after, lease, host::now());
  }
  asio::awaitable<Expected<void>> renew(const Rules& rules) override { return commit(render_renewal(rules, host::now())); }
  asio::awaitable<Expected<void>> remove() override {
    const std::string table(table_name);
    return commit("add table " + table + "\ndelete table " + table + "\n");
  }

  asio::awaitable<Expected<std::string>> rescue() override {
    auto observed = co_await observe();
    if (!observed) co_return std::unexpected(std::move(observed.error()));
    if (!observed->table_present) co_return std::string();
    const bool has_homes = observed->fingerprint.find("\"home-") != std::string::npos;
    const std::string table(table_name);
    std::string script = "delete table " + table + "\n";
    if (has_homes) script = "flush map " + table + " redirects\nflush map " + table + " redirects_local\n";
    auto done = co_await commit(std::move(script));
    if (!done) co_return std::unexpected(std::move(done.error()));
    co_return has_homes ? "redirects removed (rules that lead to an RPM off its front port stay)" : "table " + table + " removed";
  }

  bool tells_of_changes() const override { return watch_ != nullptr; }

  void watch(Notices notices) override {
    notices_ = std::move(notices);
    if (auto keeper = NatKeeper::open()) {
      keeper_.emplace(std::move(*keeper));
    } else {
      spdlog::info("{}: if somebody flushes all rules, connections to the container that are in flight may be cut off",
                   keeper.error().message);
    }
    auto opened = GenerationWatch::open(executor_, [this](const GenerationWatch::Generation& seen) { saw(seen); });
    if (opened) {
      watch_ = std::move(*opened);
    } else {
      spdlog::warn("{}; foreign rule changes are only found by the periodic check", opened.error().message);
    }
  }

 private:
  asio::awaitable<Expected<void>> commit(std::string script) {
    if (script.empty()) co_return Expected<void>{};
    const auto transaction = std::make_shared<Transaction>(executor_);
    last_ = transaction;
    host::spawn(executor_, "nft", carry_out(transaction, std::move(script)));
    co_return co_await transaction->outcome.async_receive(asio::use_awaitable);
  }

  /// The newest transaction is known even after its end, since its notice may be read later than that.
  void saw(const GenerationWatch::Generation& seen) {
    if (last_ && seen.port_id != 0 && seen.port_id == last_->port_id) {
      if (observed_generation_ && seen.number == *observed_generation_ + 1) observed_generation_ = seen.number;
      last_->outcome.try_send(error_code{}, Expected<void>{});
    } else {
      report(seen);
    }
  }

  void report(const GenerationWatch::Generation& seen) {
    if (notices_.foreign_change) notices_.foreign_change(seen.program.empty() ? "somebody" : seen.program + " (" + std::to_string(seen.port_id) + ")");
  }

  asio::any_io_executor executor_;
  Notices notices_;
  std::unique_ptr<GenerationWatch> watch_;
  std::optional<NatKeeper> keeper_;
  std::shared_ptr<Transaction> last_;
  /// When observe() began last; with what we have written since.
  std::optional<std::uint32_t> observed_generation_;
};

}  // namespace

std::unique_ptr<Backend> make_nft_backend(asio::any_io_executor executor) {
  return std::make_unique<NftBackend>(std::move(executor));
}

}  // namespace dualdeploy::traffic
