#include <algorithm>
#include <exception>
#include <system_error>
#include <tuple>

#include "config/document.hpp"
#include "config/schema.hpp"

namespace dualdeploy::config {
namespace {

constexpr std::size_t most_services = 1'024;

/// The *.yaml of `directory` in order of name. Hidden files are an editor's, not a service.
std::vector<std::filesystem::path> service_files(const std::filesystem::path& directory,
                                                 std::vector<Problem>& problems) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  std::filesystem::directory_iterator entries(directory, error);
  if (error == std::errc::no_such_file_or_directory) return files;
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    const std::filesystem::path& file = entries->path();
    if (file.extension() == ".yaml" && !file.filename().string().starts_with('.')) files.push_back(file);
  }
  if (error) problems.push_back({directory, 0, 0, "cannot be listed: " + error.message()});
  std::ranges::sort(files);
  if (files.size() > most_services) {
    problems.push_back({directory, 0, 0,
                        "expected at most " + std::to_string(most_services) + " services, got " +
                            std::to_string(files.size())});
    files.clear();
  }
  return files;
}

/// Whoever may write a directory may put files of his there.
void check_owner(const std::filesystem::path& directory, std::vector<Problem>& problems) {
  struct stat status {};
  if (::stat(directory.c_str(), &status) != 0) return;  // Not there, or not to be read: what is read from it says so.
  if (const auto others = writable_by_others(status)) problems.push_back({directory, 0, 0, *others});
}

Value root_of(const YAML::Node& document, Report& report) {
  return {document, document.Mark(), "", &report};
}

void check_names(const std::vector<ReadService>& services, std::vector<Report>& reports) {
  std::map<std::string, std::size_t> first;
  for (std::size_t index = 0; index < services.size(); ++index) {
    const std::string& name = services[index].service.policy.name;
    if (name.empty()) continue;  // Bad, and reported as such.
    const auto [position, is_new] = first.try_emplace(name, index);
    if (is_new) continue;
    reports[index].at(services[index].name, "name: " + in_quotes(name) + " is already the service in " +
                                                services[position->second].service.file.string() +
                                                "; expected a name that nothing else uses");
  }
}

std::vector<Service> parse_services(const std::vector<Source>& sources, std::vector<Problem>& problems) {
  std::vector<ReadService> read;
  std::vector<Report> reports;
  reports.reserve(sources.size());
  for (const Source& source : sources) {
    Report& report = reports.emplace_back(source.file, problems);
    const auto document = parse_document(source, report);
    read.push_back(document ? read_service(root_of(*document, report)) : ReadService{});
  }
  check_names(read, reports);
  check_ports(read, reports);
  std::vector<Service> services;
  for (ReadService& service : read) services.push_back(std::move(service.service));
  std::ranges::sort(services, {},
                    [](const Service& service) -> const std::string& { return service.policy.name; });
  return services;
}

std::expected<Config, std::vector<Problem>> parse_all(const Source& main_file, const std::vector<Source>& services,
                                                      std::vector<Problem> problems) {
  try {
    Config config;
    Report report(main_file.file, problems);
    if (const auto document = parse_document(main_file, report)) config.agent = read_agent(root_of(*document, report));
    config.services = parse_services(services, problems);
    if (problems.empty()) return config;
  } catch (
      const std::exception& exception) {  // Out of memory, or a defect: a bad file must not end the daemon.
    problems.push_back({main_file.file, 0, 0, std::string("cannot be read: ") + exception.what()});
  }
  std::ranges::stable_sort(problems, {}, [](const Problem& problem) {
    return std::tie(problem.file, problem.line, problem.column);
  });
  return std::unexpected(std::move(problems));
}

}  // namespace

std::expected<Config, std::vector<Problem>> parse(const Source& main_file, const std::vector<Source>& services) {
  return parse_all(main_file, services, {});
}

std::expected<Config, std::vector<Problem>> load(const std::filesystem::path& main_file) {
  std::vector<Problem> problems;
  std::vector<Source> services;
  const std::filesystem::path directory = main_file.has_parent_path() ? main_file.parent_path() : ".";
  check_owner(directory, problems);
  check_owner(directory / "services.d", problems);
  for (const std::filesystem::path& file : service_files(directory / "services.d", problems)) {
    services.push_back(read_source(file));
  }
  return parse_all(read_source(main_file), services, std::move(problems));
}

}  // namespace dualdeploy::config
