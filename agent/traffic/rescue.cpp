#include "traffic/rescue.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>

#include "host/command.hpp"
#include "traffic/nft_script.hpp"

namespace dualdeploy::traffic {
namespace {

namespace asio = boost::asio;

asio::awaitable<Expected<host::CommandResult>> nft(std::vector<std::string> arguments) {
  host::Command command;
  command.argv = std::move(arguments);
  host::CommandLimits limits;
  limits.output_bytes = 16 * 1024 * 1024;
  return host::run_command(std::move(command), limits);
}

asio::awaitable<Expected<std::string>> remove() {
  std::vector<std::string> list{"nft", "-j", "list", "table", "inet", "dualdeploy"};
  auto listing = co_await nft(std::move(list));
  if (!listing) co_return std::unexpected(std::move(listing.error()).within("nft"));
  if (listing->exit_status != 0) {
    if (listing->error.find("No such file or directory") != std::string::npos) co_return "there were no rules of ours";
    co_return fail("nft: " + listing->error);
  }
  // The RPM of some service is reached by a rule only: take the redirects, keep that.
  const bool has_homes = listing->output.find("\"home-") != std::string::npos;
  std::vector<std::string> change{"nft"};
  if (has_homes) {
    change.emplace_back("flush map inet dualdeploy redirects; flush map inet dualdeploy redirects_local");
  } else {
    change.emplace_back("delete table inet dualdeploy");
  }
  auto removed = co_await nft(std::move(change));
  if (!removed) co_return std::unexpected(std::move(removed.error()).within("nft"));
  if (removed->exit_status != 0) co_return fail("nft: " + removed->error);
  if (has_homes) co_return "redirects removed (rules that lead to an RPM off its front port stay)";
  co_return "table inet dualdeploy removed";
}

}  // namespace

Expected<std::string> remove_rules() {
  asio::io_context loop(1);
  Expected<std::string> outcome = fail("not run");
  asio::co_spawn(loop, remove(), [&outcome](const std::exception_ptr& error, Expected<std::string> result) {
    if (!error) outcome = std::move(result);
  });
  loop.run();
  return outcome;
}

}  // namespace dualdeploy::traffic
