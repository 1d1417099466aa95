#include "traffic/choose_backend.hpp"

#include <spdlog/spdlog.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <utility>
#include <vector>

#include "traffic/iptables_backend.hpp"
#include "traffic/nft_backend.hpp"

namespace dualdeploy::traffic {
namespace {

namespace asio = boost::asio;

Expected<void> usable(Backend& backend) {
  asio::io_context loop(1);
  Expected<void> outcome = fail("not asked");
  asio::co_spawn(loop, backend.usable(), [&outcome](const std::exception_ptr& error, Expected<void> result) {
    if (!error) outcome = std::move(result);
  });
  loop.run();
  return outcome;
}

}  // namespace

std::unique_ptr<Backend> choose_backend(asio::any_io_executor executor, config::TrafficBackend wanted) {
  std::vector<std::unique_ptr<Backend>> candidates;
  if (wanted != config::TrafficBackend::iptables) candidates.push_back(make_nft_backend(executor));
  if (wanted != config::TrafficBackend::nftables) candidates.push_back(make_iptables_backend(executor));
  std::vector<std::string> reasons;
  for (auto& candidate : candidates) {
    const auto works = usable(*candidate);
    if (!works) {
      reasons.push_back(std::string(candidate->name()) + ": " + works.error().message);
      continue;
    }
    for (const std::string& reason : reasons) spdlog::info("not used: {}", reason);
    spdlog::info("connections are redirected by {}", candidate->name());
    return std::move(candidate);
  }
  for (const std::string& reason : reasons) spdlog::error("connections cannot be redirected by {}", reason);
  return std::move(candidates.front());
}

}  // namespace dualdeploy::traffic
