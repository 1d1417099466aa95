#include "config/forms.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <optional>

#include "core/endpoint.hpp"
#include "core/printable.hpp"

namespace dualdeploy::config {
namespace {

constexpr std::string_view lower = "abcdefghijklmnopqrstuvwxyz";
constexpr std::string_view upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
constexpr std::string_view digits = "0123456789";

// Not isalnum(): that one depends on the locale.
bool is_alphanumeric(char c) {
  return lower.contains(c) || upper.contains(c) || digits.contains(c);
}
bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}
bool is_graphic_ascii(char c) {
  return c > 0x20 && c < 0x7f;
}

/// 1 to `longest` characters, each a letter, a digit or one of `others`.
bool consists_of(std::string_view text, std::string_view others, std::size_t longest) {
  return !text.empty() && text.size() <= longest &&
         std::ranges::all_of(text, [others](char c) { return is_alphanumeric(c) || others.contains(c); });
}
bool is_one_line(std::string_view text) {
  return std::ranges::none_of(text, is_control);
}

/// A path with nothing in it that needs quoting anywhere, and no way up.
bool is_absolute_path(std::string_view text) {
  if (!text.starts_with('/') || text.size() > 4095 || !is_one_line(text)) return false;
  return !text.contains("/../") && !text.ends_with("/..");
}

bool is_name_or_id(std::string_view text) {
  return consists_of(text, "_.-", 32) && (is_alphanumeric(text.front()) || text.front() == '_');
}

bool is_service_name(std::string_view text) {
  if (text.empty() || text.size() > 32 || text.front() == '-' || text == "all") return false;
  return std::ranges::all_of(text,
                             [](char c) { return lower.contains(c) || digits.contains(c) || c == '-'; });
}

/// As systemd.unit(5): at most 255 characters. A template without an instance cannot be started.
bool is_unit(std::string_view text) {
  constexpr std::string_view suffix = ".service";
  if (!consists_of(text, ":_.\\@-", 255) || !text.ends_with(suffix)) return false;
  const std::string_view stem = text.substr(0, text.size() - suffix.size());
  return !stem.empty() && stem.front() != '-' && stem.front() != '@' && stem.back() != '@';
}

bool is_package(std::string_view text) {
  return consists_of(text, "._+-", 128) && is_alphanumeric(text.front());
}

bool is_image(std::string_view text) {
  if (!consists_of(text, "._/:@-", 255) || !is_alphanumeric(text.front()) || !is_alphanumeric(text.back()))
    return false;
  return !text.contains("//") && !text.contains("..");
}

bool is_image_id(std::string_view text) {
  constexpr std::string_view prefix = "sha256:";
  return text.starts_with(prefix) && text.size() == prefix.size() + 64 &&
         text.find_first_not_of("0123456789abcdef", prefix.size()) == std::string_view::npos;
}

bool is_address(std::string_view text) {
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  const std::string copy(text);
  if (copy.size() != std::char_traits<char>::length(copy.c_str())) return false;
  return inet_pton(AF_INET, copy.c_str(), bytes.data()) == 1 ||
         inet_pton(AF_INET6, copy.c_str(), bytes.data()) == 1;
}

bool is_listen(std::string_view text) {
  if (text == "off") return true;
  const auto endpoint = endpoint_in(text);
  return endpoint && endpoint->port != 0;
}

bool is_http_path(std::string_view text) {
  return text.starts_with('/') && text.size() <= 1024 && std::ranges::all_of(text, is_graphic_ascii) &&
         !text.contains('#');
}

bool is_container_user(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == std::string_view::npos) return is_name_or_id(text);
  return is_name_or_id(text.substr(0, colon)) && is_name_or_id(text.substr(colon + 1));
}

bool is_variable(std::string_view text) {
  return consists_of(text, "_.-", 255) && !digits.contains(text.front());
}

/// `list` split at commas holds only words that `known` has.
bool are_bind_options(std::string_view list) {
  constexpr std::array<std::string_view, 11> known{
      "ro", "rw", "z", "Z", "shared", "rshared", "slave", "rslave", "private", "rprivate", "nocopy"};
  while (true) {
    const auto comma = list.find(',');
    if (!std::ranges::count(known, list.substr(0, comma))) return false;
    if (comma == std::string_view::npos) return true;
    list.remove_prefix(comma + 1);
  }
}

bool is_bind(std::string_view text) {
  const auto first = text.find(':');
  if (first == std::string_view::npos) return false;
  std::string_view target = text.substr(first + 1);
  if (const auto second = target.find(':'); second != std::string_view::npos) {
    if (!are_bind_options(target.substr(second + 1))) return false;
    target = target.substr(0, second);
  }
  return is_absolute_path(text.substr(0, first)) && is_absolute_path(target) && target != "/";
}

bool is_tmpfs(std::string_view text) {
  const auto colon = text.find(':');
  const std::string_view path = text.substr(0, colon);
  if (!is_absolute_path(path) || path == "/") return false;
  return colon == std::string_view::npos || consists_of(text.substr(colon + 1), "=,%_", 255);
}

bool is_ulimit(std::string_view text) {
  constexpr std::array<std::string_view, 15> known{"core",    "cpu",      "data",   "fsize",      "locks",
                                                   "memlock", "msgqueue", "nice",   "nofile",     "nproc",
                                                   "rss",     "rtprio",   "rttime", "sigpending", "stack"};
  return std::ranges::count(known, text) > 0;
}

bool is_capability(std::string_view text) {
  constexpr std::array<std::string_view, 42> known{"ALL",
                                                   "AUDIT_CONTROL",
                                                   "AUDIT_READ",
                                                   "AUDIT_WRITE",
                                                   "BLOCK_SUSPEND",
                                                   "BPF",
                                                   "CHECKPOINT_RESTORE",
                                                   "CHOWN",
                                                   "DAC_OVERRIDE",
                                                   "DAC_READ_SEARCH",
                                                   "FOWNER",
                                                   "FSETID",
                                                   "IPC_LOCK",
                                                   "IPC_OWNER",
                                                   "KILL",
                                                   "LEASE",
                                                   "LINUX_IMMUTABLE",
                                                   "MAC_ADMIN",
                                                   "MAC_OVERRIDE",
                                                   "MKNOD",
                                                   "NET_ADMIN",
                                                   "NET_BIND_SERVICE",
                                                   "NET_BROADCAST",
                                                   "NET_RAW",
                                                   "PERFMON",
                                                   "SETFCAP",
                                                   "SETGID",
                                                   "SETPCAP",
                                                   "SETUID",
                                                   "SYSLOG",
                                                   "SYS_ADMIN",
                                                   "SYS_BOOT",
                                                   "SYS_CHROOT",
                                                   "SYS_MODULE",
                                                   "SYS_NICE",
                                                   "SYS_PACCT",
                                                   "SYS_PTRACE",
                                                   "SYS_RAWIO",
                                                   "SYS_RESOURCE",
                                                   "SYS_TIME",
                                                   "SYS_TTY_CONFIG",
                                                   "WAKE_ALARM"};
  if (text.starts_with("CAP_")) text.remove_prefix(4);
  return std::ranges::count(known, text) > 0;
}

bool is_security_option(std::string_view text) {
  return !text.empty() && is_alphanumeric(text.front()) && text.size() <= 65'536 &&
         std::ranges::all_of(text, is_graphic_ascii);
}

bool is_label(std::string_view text) {
  return !text.empty() && text.size() <= 255 && std::ranges::all_of(text, is_graphic_ascii) &&
         !text.contains('=') && !text.starts_with("dualdeploy.");
}

}  // namespace

namespace form {

const Form any_text{[](std::string_view text) { return !text.contains('\0'); }, "text without a NUL"};
const Form nonempty_text{
    [](std::string_view text) { return !text.empty() && text.size() <= 4096 && is_one_line(text); },
    "1 to 4096 bytes of text on one line"};
const Form service_name{is_service_name,
                        "1 to 32 of a-z, 0-9 and '-', not beginning with '-' (and not the reserved 'all')"};
const Form unit{is_unit, "a unit's name that ends in .service, such as shop.service"};
const Form package{is_package, "an RPM package's name, such as shop"};
const Form image{is_image, "an image's name, such as shop:1.2, or its id, sha256:..."};
const Form image_id{is_image_id, "an image's id, sha256: and 64 hexadecimal digits"};
const Form absolute_path{is_absolute_path, "an absolute path without '..'"};
const Form socket_path{[](std::string_view text) { return is_absolute_path(text) && text.size() <= 107; },
                       "the absolute path of a socket, at most 107 bytes, such as /var/run/docker.sock"};
const Form address{is_address, "an IPv4 or IPv6 address, such as 127.0.0.1 or ::1"};
const Form listen{is_listen, "off, or an address and a port, such as 127.0.0.1:9180, 0.0.0.0:9180 or [::]:9180"};
const Form http_endpoint{[](std::string_view text) { return parse_endpoint(text).has_value(); },
                         "http:// with an address and maybe a port, such as http://169.254.169.254"};
const Form http_path{is_http_path, "a path that begins with '/', without spaces, such as /healthz"};
const Form http_host{[](std::string_view text) { return consists_of(text, "._:[]-", 255); },
                     "a host name or address, such as shop.example or localhost:8080"};
const Form user{is_name_or_id, "a user's name or number"};
const Form group{is_name_or_id, "a group's name or number"};
const Form container_user{is_container_user,
                          "a user's name or number, and after ':' a group's, such as 1000:1000"};
const Form variable{is_variable,
                    "a variable's name of letters, digits, '_', '.' and '-', not beginning with a digit"};
const Form bind{is_bind, "/host/path:/container/path[:options], options such as ro"};
const Form tmpfs{is_tmpfs, "/container/path[:options], options such as size=64m"};
const Form ulimit{is_ulimit, "a limit's name, such as nofile, nproc, memlock or core"};
const Form capability{is_capability, "a capability in capitals, such as ALL or NET_BIND_SERVICE"};
const Form security_option{is_security_option, "an option such as no-new-privileges or label=disable"};
const Form log_driver{[](std::string_view text) { return consists_of(text, "._/:-", 128); },
                      "a log driver's name, such as journald or json-file"};
const Form option_name{[](std::string_view text) { return consists_of(text, "._-", 128); },
                       "an option's name, such as max-size"};
const Form label{is_label,
                 "a label's name without spaces or '=', not beginning with the reserved 'dualdeploy.'"};

}  // namespace form

std::string in_quotes(std::string_view text) {
  constexpr std::size_t longest = 80;
  const bool cut = text.size() > longest;
  if (cut) {
    std::size_t end = longest;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
      --end;  // Not inside a UTF-8 character.
    text = text.substr(0, end);
  }
  return "'" + printable(text) + (cut ? "...'" : "'");
}

}  // namespace dualdeploy::config
