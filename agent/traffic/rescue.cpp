#include "traffic/rescue.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <utility>

#include "traffic/iptables_backend.hpp"
#include "traffic/nft_backend.hpp"

namespace dualdeploy::traffic {
namespace {

namespace asio = boost::asio;

Expected<std::string> rescue(asio::io_context& loop, Backend& backend) {
  Expected<std::string> outcome = fail("not run");
  asio::co_spawn(loop, backend.rescue(), [&outcome](const std::exception_ptr& error, Expected<std::string> result) {
    if (!error) outcome = std::move(result);
  });
  loop.restart();
  loop.run();
  return outcome;
}

}  // namespace

Expected<std::string> remove_rules() {
  asio::io_context loop(1);
  std::string done;
  std::string failed;
  for (const auto& backend : {make_nft_backend(loop.get_executor()), make_iptables_backend(loop.get_executor())}) {
    if (!backend->installed()) continue;
    const auto text = rescue(loop, *backend);
    std::string& told = text ? done : failed;
    if (text && text->empty()) continue;
    told += (told.empty() ? "" : "; ") + std::string(backend->name()) + ": " + (text ? *text : text.error().message);
  }
  if (!failed.empty()) return fail(failed + (done.empty() ? "" : " (done: " + done + ")"));
  return done.empty() ? "there were no rules of ours" : done;
}

}  // namespace dualdeploy::traffic
