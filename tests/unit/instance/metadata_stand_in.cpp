#include "instance/metadata_stand_in.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <cctype>
#include <set>

namespace dualdeploy::instance::testing {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr const char* token_header = "X-aws-ec2-metadata-token";
constexpr const char* lifetime_header = "X-aws-ec2-metadata-token-ttl-seconds";
/// Well within any deadline of a test: each byte is in time, only their sum is not.
constexpr std::chrono::milliseconds drip_interval{5};

using Question = http::request<http::string_body>;
using Reply = http::response<http::string_body>;

Reply reply_of(http::status status, std::string body) {
  Reply reply(status, 11);
  reply.set(http::field::server, "EC2ws");
  reply.set(http::field::content_type, "text/plain");
  reply.body() = std::move(body);
  reply.prepare_payload();
  return reply;
}

std::string in_lower_case(std::string_view text) {
  std::string result;
  for (const char c : text) result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

}  // namespace

struct MetadataStandIn::Impl : std::enable_shared_from_this<MetadataStandIn::Impl> {
  Impl(asio::io_context& loop, const std::string& address)
      : acceptor(loop, tcp::endpoint(asio::ip::make_address(address), 0)) {}

  asio::awaitable<void> accept() {
    const auto self = shared_from_this();
    error_code error;
    while (true) {
      tcp::socket peer(acceptor.get_executor());
      co_await acceptor.async_accept(peer, asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return;
      asio::co_spawn(acceptor.get_executor(), serve(std::move(peer)), asio::detached);
    }
  }

  asio::awaitable<void> serve(tcp::socket peer) {
    const auto self = shared_from_this();
    error_code error;
    boost::beast::flat_buffer buffer;
    Question question;
    co_await http::async_read(peer, buffer, question, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    const std::string target = question.target();
    Request& request = requests.emplace_back();
    request.line = std::string(question.method_string()) + " " + target;
    for (const auto& field : question) request.headers[in_lower_case(field.name_string())] = field.value();
    if (const auto fault = faults.find(target); fault != faults.end()) {
      Fault how = fault->second;
      co_await fail(peer, std::move(how));
      co_return;
    }
    const Reply reply = answer(question);
    co_await http::async_write(peer, reply, asio::redirect_error(asio::use_awaitable, error));
  }

  asio::awaitable<void> fail(tcp::socket& peer, Fault fault) {
    error_code error;
    co_await asio::async_write(peer, asio::buffer(fault.sends), asio::redirect_error(asio::use_awaitable, error));
    char byte = 'x';
    if (fault.then == Fault::Then::keep_quiet) {  // Until the client has gone.
      co_await peer.async_read_some(asio::buffer(&byte, 1), asio::redirect_error(asio::use_awaitable, error));
    }
    asio::steady_timer timer(acceptor.get_executor());
    while (fault.then == Fault::Then::drip && !error) {
      timer.expires_after(drip_interval);
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, error));
      co_await asio::async_write(peer, asio::buffer(&byte, 1), asio::redirect_error(asio::use_awaitable, error));
    }
  }

  Reply answer(const Question& question) {
    if (question.target() == token_target) {
      if (question.method() != http::verb::put) return reply_of(http::status::method_not_allowed, "");
      if (question[lifetime_header] != "21600") return reply_of(http::status::bad_request, "");
      const std::string token = "token-" + std::to_string(++tokens_given) + "==";
      tokens.insert(token);
      Reply reply = reply_of(http::status::ok, token);
      if (lifetime) reply.set(lifetime_header, std::to_string(lifetime->count()));
      return reply;
    }
    if (!tokens.contains(question[token_header])) return reply_of(http::status::unauthorized, "");
    const auto value = values.find(question.target());
    if (value == values.end()) return reply_of(http::status::not_found, "<h1>404 - Not Found</h1>");
    return reply_of(http::status::ok, value->second);
  }

  tcp::acceptor acceptor;
  std::map<std::string, std::string, std::less<>> values;
  std::map<std::string, Fault> faults;
  std::set<std::string, std::less<>> tokens;
  std::optional<std::chrono::seconds> lifetime = std::chrono::seconds{21'600};
  std::vector<Request> requests;
  int tokens_given = 0;
};

MetadataStandIn::MetadataStandIn(asio::io_context& loop, const std::string& address)
    : impl_(std::make_shared<Impl>(loop, address)) {
  impl_->values[id_target] = "i-0123456789abcdef0";
  asio::co_spawn(loop, impl_->accept(), asio::detached);
}

MetadataStandIn::~MetadataStandIn() { impl_->acceptor.close(); }

std::string MetadataStandIn::endpoint() const { return "http://" + authority(); }

std::string MetadataStandIn::authority() const {
  const tcp::endpoint where = impl_->acceptor.local_endpoint();
  const std::string address = where.address().to_string();
  return (where.address().is_v6() ? "[" + address + "]" : address) + ":" + std::to_string(where.port());
}

void MetadataStandIn::set_value(const std::string& target, std::string value) {
  impl_->values[target] = std::move(value);
}
void MetadataStandIn::set_fault(const std::string& target, Fault fault) { impl_->faults[target] = std::move(fault); }
void MetadataStandIn::clear_faults() { impl_->faults.clear(); }
void MetadataStandIn::set_lifetime(std::optional<std::chrono::seconds> lifetime) { impl_->lifetime = lifetime; }
void MetadataStandIn::forget_tokens() { impl_->tokens.clear(); }

const std::vector<MetadataStandIn::Request>& MetadataStandIn::requests() const { return impl_->requests; }

std::vector<std::string> MetadataStandIn::asked() const {
  std::vector<std::string> result;
  for (const Request& request : impl_->requests) {
    result.push_back(request.line.substr(request.line.find("/latest/") + std::string_view("/latest/").size()));
  }
  return result;
}

}  // namespace dualdeploy::instance::testing
