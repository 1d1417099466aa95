#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/config.hpp"
#include "config/forms.hpp"

/// A typed reader over YAML nodes: it collects what is wrong instead of stopping at the first, and knows
/// which keys nobody asked for.
namespace dualdeploy::config {

/// Where the problems of one file go. At most `most` of them: a file of another kind has thousands.
class Report {
 public:
  static constexpr int most = 100;

  Report(std::filesystem::path file, std::vector<Problem>& problems)
      : file_(std::move(file)), problems_(problems) {}
  void at(const YAML::Mark& mark, std::string message);
  void whole_file(std::string message) { at(YAML::Mark::null_mark(), std::move(message)); }
  [[nodiscard]] const std::filesystem::path& file() const { return file_; }

 private:
  std::filesystem::path file_;
  std::vector<Problem>& problems_;
  int count_ = 0;
};

/// A node and what to call it in a message, for example "ports[1].front". A reading function that finds
/// something else than asked for reports it and returns nothing.
struct Value {
  YAML::Node node;
  YAML::Mark mark;  ///< Where it stands; of a key without a value, where the key stands.
  std::string name;
  Report* report;

  void problem(std::string_view message) const;
  /// "NAME: expected FORM, got WHAT IS THERE".
  void unexpected(std::string_view form) const;

  [[nodiscard]] std::optional<std::string> text(const Form& form) const;
  /// Decimal, or hexadecimal after 0x. Both limits are allowed values.
  [[nodiscard]] std::optional<std::int64_t> integer(std::int64_t least, std::int64_t greatest) const;
  [[nodiscard]] std::optional<Milliseconds> duration(Milliseconds least, Milliseconds greatest) const;
  /// Bytes: a number, alone or with KiB, MiB, GiB (or k, m, g, which mean the same).
  [[nodiscard]] std::optional<std::int64_t> size(std::int64_t least, std::int64_t greatest) const;
  [[nodiscard]] std::optional<bool> flag() const;
  /// `form` describes the whole list.
  [[nodiscard]] std::optional<std::vector<Value>> list(std::size_t least, std::size_t greatest,
                                                       std::string_view form) const;
};

/// A mapping with known keys. The read functions leave `target` alone if the key is absent or its value bad;
/// in the latter case that has been reported. After the last, finish() reports the keys that nobody asked
/// for.
class Mapping {
 public:
  explicit Mapping(const Value& value);

  [[nodiscard]] bool valid() const { return valid_; }
  [[nodiscard]] std::optional<Value> find(std::string_view key);
  /// Reports the key if absent.
  std::optional<Value> require(std::string_view key, std::string_view form);
  [[nodiscard]] std::optional<Mapping> section(std::string_view key);
  /// Of the value of `key`, or of the mapping if there is none.
  [[nodiscard]] YAML::Mark mark_of(std::string_view key) const;
  /// All keys, for mappings whose keys are data. Each must fit `keys`.
  [[nodiscard]] std::vector<std::pair<std::string, Value>> take_all(const Form& keys);
  void problem(std::string_view message) const { value_.problem(message); }
  void finish();

  void text(std::string_view key, std::string& target, const Form& form);
  void texts(std::string_view key, std::vector<std::string>& target, const Form& form);
  void texts(std::string_view key, std::map<std::string, std::string>& target, const Form& keys);
  void duration(std::string_view key, Milliseconds& target, Milliseconds least, Milliseconds greatest);
  void size(std::string_view key, std::int64_t& target, std::int64_t least, std::int64_t greatest);
  void flag(std::string_view key, bool& target);

  template <class Integer>
  void integer(std::string_view key, Integer& target, Integer least, Integer greatest) {
    const auto value = find(key);
    if (!value) return;
    if (const auto number = value->integer(least, greatest)) target = static_cast<Integer>(*number);
  }
  void port(std::string_view key, std::uint16_t& target) {
    integer<std::uint16_t>(key, target, 1, std::numeric_limits<std::uint16_t>::max());
  }
  template <class T>
  void choice(std::string_view key, T& target,
              std::initializer_list<std::pair<std::string_view, T>> choices) {
    const auto value = find(key);
    if (!value) return;
    std::string names;
    for (const auto& [name, meaning] : choices) {
      if (value->node.IsScalar() && value->node.Scalar() == name) {
        target = meaning;
        return;
      }
      names.append(names.empty() ? "" : " or ").append(name);
    }
    value->unexpected(names);
  }

 private:
  struct Entry {
    YAML::Node value;
    YAML::Mark mark;  ///< The value's, as in Value.
    YAML::Mark key_mark;
    bool asked = false;
  };
  [[nodiscard]] std::string path_to(std::string_view key) const;
  void add(const YAML::Node& key, const YAML::Node& value);

  Value value_;
  bool valid_ = false;
  std::map<std::string, Entry, std::less<>> entries_;
  std::vector<std::string> known_;  ///< Every key asked for, in that order.
};

}  // namespace dualdeploy::config
