#include "config/reader.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace dualdeploy::config {
namespace {

/// Bounds every list and every mapping whose keys are data.
constexpr std::size_t most_entries = 1000;

std::string what_is_there(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Scalar:
      return in_quotes(node.Scalar());
    case YAML::NodeType::Sequence:
      return "a list";
    case YAML::NodeType::Map:
      return "a mapping";
    case YAML::NodeType::Null:
    case YAML::NodeType::Undefined:
      return "nothing";
  }
  return "nothing";
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  const bool is_hexadecimal = text.starts_with("0x");
  if (is_hexadecimal) text.remove_prefix(2);
  if (is_hexadecimal && text.starts_with('-')) return std::nullopt;
  std::int64_t number = 0;
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, number, is_hexadecimal ? 16 : 10);
  if (error != std::errc{} || end != last) return std::nullopt;
  return number;
}

struct SizeUnit {
  std::string_view name;
  int shift;
};
constexpr std::array<SizeUnit, 6> size_units{
    {{"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"g", 30}, {"m", 20}, {"k", 10}}};

std::optional<std::int64_t> parse_size(std::string_view text) {
  int shift = 0;
  for (const SizeUnit& unit : size_units) {
    if (!text.ends_with(unit.name)) continue;
    text.remove_suffix(unit.name.size());
    shift = unit.shift;
    break;
  }
  if (text.starts_with("0x")) return std::nullopt;
  const auto number = parse_integer(text);
  if (!number || *number < 0 || *number > (std::numeric_limits<std::int64_t>::max() >> shift))
    return std::nullopt;
  return *number << shift;
}

std::string format_size(std::int64_t bytes) {
  for (const SizeUnit& unit : size_units) {
    if (bytes >= (std::int64_t{1} << unit.shift) && bytes % (std::int64_t{1} << unit.shift) == 0) {
      return std::to_string(bytes >> unit.shift).append(unit.name);
    }
  }
  return std::to_string(bytes);
}

/// Levenshtein's: how many characters to insert, delete or replace.
std::size_t distance(std::string_view left, std::string_view right) {
  std::vector<std::size_t> row(right.size() + 1);
  for (std::size_t column = 0; column < row.size(); ++column) row[column] = column;
  for (std::size_t line = 0; line < left.size(); ++line) {
    std::size_t diagonal = row[0];
    row[0] = line + 1;
    for (std::size_t column = 0; column < right.size(); ++column) {
      const std::size_t replaced = diagonal + (left[line] == right[column] ? 0 : 1);
      diagonal = row[column + 1];
      row[column + 1] = std::min({replaced, row[column] + 1, row[column + 1] + 1});
    }
  }
  return row.back();
}

/// The key of `known` that was probably meant, or empty.
std::string_view nearest(std::string_view key, const std::vector<std::string>& known) {
  constexpr std::size_t longest_key = 64;
  if (key.size() > longest_key) return {};
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(1, std::min<std::size_t>(2, key.size() / 3)) + 1;
  for (const std::string& candidate : known) {
    const std::size_t candidate_distance = distance(key, candidate);
    if (candidate_distance >= best_distance) continue;
    best = candidate;
    best_distance = candidate_distance;
  }
  return best;
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text.append(text.empty() ? "" : ", ").append(name);
  return text;
}

}  // namespace

void Report::at(const YAML::Mark& mark, std::string message) {
  ++count_;
  if (count_ > most + 1) return;
  if (count_ == most + 1) {
    problems_.push_back(
        {file_, 0, 0, "more than " + std::to_string(most) + " problems; these are the first found"});
    return;
  }
  if (mark.is_null()) {
    problems_.push_back({file_, 0, 0, std::move(message)});
  } else {
    problems_.push_back({file_, mark.line + 1, mark.column + 1, std::move(message)});
  }
}

void Value::problem(std::string_view message) const {
  report->at(mark, name.empty() ? std::string(message) : name + ": " + std::string(message));
}

void Value::unexpected(std::string_view form) const {
  problem("expected " + std::string(form) + ", got " + what_is_there(node));
}

std::optional<std::string> Value::text(const Form& form) const {
  if (node.IsScalar() && form.fits(node.Scalar()) && !node.Scalar().contains('\0')) return node.Scalar();
  unexpected(form.expected);
  return std::nullopt;
}

std::optional<std::int64_t> Value::integer(std::int64_t least, std::int64_t greatest) const {
  const auto number = node.IsScalar() ? parse_integer(node.Scalar()) : std::nullopt;
  if (number && *number >= least && *number <= greatest) return number;
  unexpected("a whole number from " + std::to_string(least) + " to " + std::to_string(greatest));
  return std::nullopt;
}

std::optional<Milliseconds> Value::duration(Milliseconds least, Milliseconds greatest) const {
  if (node.IsScalar()) {
    const auto parsed = parse_duration(node.Scalar());
    if (parsed && *parsed >= least && *parsed <= greatest) return *parsed;
  }
  unexpected("a duration from " + format_duration(least) + " to " + format_duration(greatest) + ", such as " +
             format_duration(least < Milliseconds{1000} ? Milliseconds{500} : Milliseconds{30'000}));
  return std::nullopt;
}

std::optional<std::int64_t> Value::size(std::int64_t least, std::int64_t greatest) const {
  const auto bytes = node.IsScalar() ? parse_size(node.Scalar()) : std::nullopt;
  if (bytes && *bytes >= least && *bytes <= greatest) return bytes;
  unexpected("a size from " + format_size(least) + " to " + format_size(greatest) + ", such as 16MiB");
  return std::nullopt;
}

std::optional<bool> Value::flag() const {
  if (node.IsScalar() && node.Scalar() == "true") return true;
  if (node.IsScalar() && node.Scalar() == "false") return false;
  unexpected("true or false");
  return std::nullopt;
}

std::optional<std::vector<Value>> Value::list(std::size_t least, std::size_t greatest,
                                              std::string_view form) const {
  if (!node.IsSequence()) {
    unexpected(form);
    return std::nullopt;
  }
  if (node.size() < least || node.size() > greatest) {
    problem("expected " + std::string(form) + ", got " + std::to_string(node.size()) + " of them");
    return std::nullopt;
  }
  std::vector<Value> values;
  for (const auto& element : node) {
    values.push_back({element, element.Mark(), name + "[" + std::to_string(values.size()) + "]", report});
  }
  return values;
}

Mapping::Mapping(const Value& value) : value_(value), valid_(value.node.IsMap()) {
  if (!valid_) {
    value_.unexpected("a mapping");
    return;
  }
  for (const auto& entry : value_.node) add(entry.first, entry.second);
}

void Mapping::add(const YAML::Node& key, const YAML::Node& value) {
  if (!key.IsScalar()) {
    value_.report->at(key.Mark(), "expected a key, got " + what_is_there(key));
    return;
  }
  const auto [position, is_new] = entries_.try_emplace(
      key.Scalar(), Entry{value, value.IsNull() ? key.Mark() : value.Mark(), key.Mark()});
  if (is_new) return;
  value_.report->at(key.Mark(), "key " + in_quotes(key.Scalar()) + " appears twice; the first is in line " +
                                    std::to_string(position->second.key_mark.line + 1));
}

std::string Mapping::path_to(std::string_view key) const {
  return value_.name.empty() ? std::string(key) : value_.name + "." + std::string(key);
}

std::optional<Value> Mapping::find(std::string_view key) {
  known_.emplace_back(key);
  const auto position = entries_.find(key);
  if (position == entries_.end()) return std::nullopt;
  position->second.asked = true;
  return Value{position->second.value, position->second.mark, path_to(key), value_.report};
}

std::optional<Value> Mapping::require(std::string_view key, std::string_view form) {
  auto value = find(key);
  if (!value && valid_) problem("key " + in_quotes(key) + " is missing; expected " + std::string(form));
  return value;
}

std::optional<Mapping> Mapping::section(std::string_view key) {
  const auto value = find(key);
  if (!value) return std::nullopt;
  return Mapping(*value);
}

YAML::Mark Mapping::mark_of(std::string_view key) const {
  const auto position = entries_.find(key);
  return position == entries_.end() ? value_.mark : position->second.mark;
}

std::vector<std::pair<std::string, Value>> Mapping::take_all(const Form& keys) {
  std::vector<std::pair<std::string, Value>> values;
  if (entries_.size() > most_entries) {
    problem("expected at most " + std::to_string(most_entries) + " entries, got " +
            std::to_string(entries_.size()));
    return values;
  }
  for (auto& [key, entry] : entries_) {
    entry.asked = true;
    if (!keys.fits(key) || key.contains('\0')) {
      value_.report->at(entry.key_mark,
                        value_.name + ": expected " + std::string(keys.expected) + ", got " + in_quotes(key));
      continue;
    }
    values.emplace_back(key, Value{entry.value, entry.mark, path_to(key), value_.report});
  }
  return values;
}

void Mapping::finish() {
  for (const auto& [key, entry] : entries_) {
    if (entry.asked) continue;
    const std::string_view meant = nearest(key, known_);
    value_.report->at(entry.key_mark, "unknown key " + in_quotes(key) +
                                          (meant.empty() ? "; expected one of " + listed(known_)
                                                         : "; did you mean " + in_quotes(meant) + "?"));
  }
}

void Mapping::text(std::string_view key, std::string& target, const Form& form) {
  const auto value = find(key);
  if (!value) return;
  if (auto text = value->text(form)) target = std::move(*text);
}

void Mapping::texts(std::string_view key, std::vector<std::string>& target, const Form& form) {
  const auto value = find(key);
  if (!value) return;
  const auto values =
      value->list(0, most_entries, "a list of at most " + std::to_string(most_entries) + " texts");
  if (!values) return;
  target.clear();
  for (const Value& element : *values) {
    if (auto text = element.text(form)) target.push_back(std::move(*text));
  }
}

void Mapping::texts(std::string_view key, std::map<std::string, std::string>& target, const Form& keys) {
  auto mapping = section(key);
  if (!mapping) return;
  target.clear();
  for (auto& [name, value] : mapping->take_all(keys)) {
    if (auto text = value.text(form::any_text)) target.emplace(name, std::move(*text));
  }
}

void Mapping::duration(std::string_view key, Milliseconds& target, Milliseconds least,
                       Milliseconds greatest) {
  const auto value = find(key);
  if (!value) return;
  if (const auto duration = value->duration(least, greatest)) target = *duration;
}

void Mapping::size(std::string_view key, std::int64_t& target, std::int64_t least, std::int64_t greatest) {
  const auto value = find(key);
  if (!value) return;
  if (const auto bytes = value->size(least, greatest)) target = *bytes;
}

void Mapping::flag(std::string_view key, bool& target) {
  const auto value = find(key);
  if (!value) return;
  if (const auto flag = value->flag()) target = *flag;
}

}  // namespace dualdeploy::config
