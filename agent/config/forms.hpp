#pragma once

#include <string>
#include <string_view>

/// What a text value must look like. Much of it ends up in kernel rules, in requests to the engine or in a
/// program's arguments, so each form is a strict set of characters and a length, not a list of what is known
/// to be harmful.
namespace dualdeploy::config {

struct Form {
  bool (*fits)(std::string_view text);
  std::string_view expected;  ///< Follows "expected " in a message.
};

namespace form {

extern const Form any_text;       ///< No NUL: it becomes a C string.
extern const Form nonempty_text;  ///< One line.
extern const Form service_name;
extern const Form unit;
extern const Form package;
extern const Form image;
extern const Form image_id;  ///< "sha256:" and 64 hexadecimal digits.
/// Of a whole list, not of its words.
inline constexpr std::string_view command = "a list: a program's absolute path, then its arguments";
extern const Form absolute_path;
extern const Form socket_path;  ///< Fits sun_path of unix(7).
extern const Form address;      ///< A literal: a check must not depend on a resolver.
extern const Form listen;   ///< "off" or ADDRESS:PORT.
extern const Form http_endpoint;  ///< "http://ADDRESS[:PORT]"
extern const Form http_path;
extern const Form http_host;
extern const Form user;  ///< On this host.
extern const Form group;
extern const Form container_user;  ///< "USER[:GROUP]", each a name or a number.
extern const Form variable;        ///< An environment variable's name.
extern const Form bind;
extern const Form tmpfs;
extern const Form ulimit;      ///< A resource of docker run --ulimit.
extern const Form capability;  ///< capabilities(7), with or without "CAP_".
extern const Form security_option;
extern const Form log_driver;
extern const Form option_name;
extern const Form label;

}  // namespace form

/// `text` in single quotes, cut to a readable length and printable: a message never carries a terminal's
/// escape sequences.
[[nodiscard]] std::string in_quotes(std::string_view text);

}  // namespace dualdeploy::config
