#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "control/api.hpp"
#include "control/peer.hpp"
#include "control/request.hpp"

namespace dualdeploy::control {

struct Question {
  std::string method;  ///< "GET", "POST"
  Target target;
  std::string body;
  Peer peer;
};

struct Reply {
  unsigned status = 200;
  std::string body;   ///< JSON.
  std::string allow;  ///< For 405: the methods that are.
};

/// The answer to everything but a followed event stream.
[[nodiscard]] boost::asio::awaitable<Reply> answer(Api& api, const Access& access, Question question);

/// {"error": {"code", "exit", "message"}} with the fitting HTTP status.
[[nodiscard]] Reply error_reply(const Error& error);
[[nodiscard]] Reply error_reply(unsigned status, const Error& error);

/// Why this peer may not do that; nothing if it may.
[[nodiscard]] std::optional<Error> forbidden(const Peer& peer, const Access& access, bool to_change);

/// The question asks for GET /v1/events.
[[nodiscard]] bool asks_for_events(const Question& question);
/// The number behind `name` in the query.
[[nodiscard]] Expected<std::size_t> number_in_query(const Target& target, const std::string& name, std::size_t fallback,
                                                    std::size_t most);

}  // namespace dualdeploy::control
