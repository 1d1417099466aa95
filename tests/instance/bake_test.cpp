// A real Packer bakes a dual-deployment image: the templates, and the scripts that they run.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>

#include "instance/support/instance.hpp"

namespace dualdeploy::testing {
namespace {

namespace json = boost::json;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

const std::string packer_directory = DD_SOURCE_DIR "/packaging/packer";
// It never asks anybody for newer versions of itself.
const std::string packer = "env CHECKPOINT_DISABLE=1 PACKER_LOG= PACKER_CACHE_DIR=/tmp/dualdeploy-packer packer ";

json::value json_of(const std::string& path) {
  std::ifstream stream(path);
  std::stringstream text;
  text << stream.rdbuf();
  return json::parse(text.str());
}

TEST(Bake, TemplatesValidate) {
  // The article's own command line.
  const std::string arguments =
      "validate -var 'base_image=ami-c7d092f7' -var 'new_image=CentOS-7-x86_64 (Demo)' -var 'script=bootstrap.sh' "
      "-var 'script_args=' ";
  do_shell("cd " + packer_directory + " && " + packer + arguments +
           "-var 'access_key=AKIAEXAMPLE' -var 'secret_key=example' aws.json");
  // From anywhere, and with credentials of the environment.
  do_shell(packer + arguments + "-var 'access_key=' -var 'secret_key=' " + packer_directory + "/aws.json");
  do_shell(packer + arguments + packer_directory + "/aws.pkr.hcl");
  EXPECT_THAT(shell(packer + "validate " + packer_directory + "/aws.json").output,
              HasSubstr("required variable not set: base_image"));
  EXPECT_THAT(shell(packer + "validate -var base_image=centos -var new_image=x " + packer_directory + "/aws.pkr.hcl").output,
              HasSubstr("such as ami-c7d092f7"));
  // What is tested below is what runs at Amazon's.
  EXPECT_EQ(json_of(packer_directory + "/local.json").at("provisioners"),
            json_of(packer_directory + "/aws.json").at("provisioners"));
}

TEST(Bake, ScriptsAreClean) {
  do_shell("shellcheck " + packer_directory + "/*.sh " DD_SOURCE_DIR "/tests/packer/*");
  do_shell("cd " + packer_directory + " && for script in *.sh; do ./$script --help | grep -q '^usage: '; done");
}

TEST(Bake, ANewAmiRequiresImdsV2) {
  const Scratch scratch;
  const std::string script = "cd " + scratch.path + " && PATH=.:$PATH " + packer_directory + "/require_imdsv2.sh manifest";
  const std::string manifest = R"({"builds": [
    {"artifact_id": "us-west-2:ami-1",
     "packer_run_uuid": "1"},
    {"artifact_id": "us-west-2:ami-2,us-east-1:ami-3",
     "packer_run_uuid": "2"}]})";
  do_shell("cd " + scratch.path + " && echo " + quoted(manifest) + " > manifest");
  do_shell("cd " + scratch.path + R"( && printf '#!/bin/sh\necho "$@" >>calls\n' > aws && chmod +x aws)");
  do_shell(script);
  EXPECT_EQ(do_shell("cat " + scratch.path + "/calls"),
            "ec2 modify-image-attribute --region us-west-2 --image-id ami-2 --imds-support v2.0\n"
            "ec2 modify-image-attribute --region us-east-1 --image-id ami-3 --imds-support v2.0");
  // Packer's own credentials, if it was given some; else those of the environment.
  do_shell("cd " + scratch.path + R"( && printf '#!/bin/sh\necho $AWS_ACCESS_KEY_ID\n' > aws)");
  EXPECT_THAT(do_shell("export AWS_ACCESS_KEY_ID=mine BAKE_ACCESS_KEY=; " + script), HasSubstr("mine\nus-west-2:ami-2: IMDSv2"));
  EXPECT_THAT(do_shell("export AWS_ACCESS_KEY_ID=mine BAKE_ACCESS_KEY=given; " + script), HasSubstr("given\n"));
  do_shell("cd " + scratch.path + " && printf '#!/bin/sh\\nexit 255\\n' > aws");
  EXPECT_THAT(shell("export IMDSV2=try; " + script).output, HasSubstr("ami-3 does NOT require IMDSv2; to be run: aws ec2"));
  EXPECT_EQ(shell("export IMDSV2=try; " + script).status, 0);
  EXPECT_EQ(shell(script).status, 1);
}

/// A distribution that is played: see tests/packer/on_system.
struct Played {
  Scratch scratch;
  std::string system;  ///< ID and VERSION_ID of os-release.
  [[nodiscard]] Outcome run(const std::string& what) const {
    return shell(DD_SOURCE_DIR "/tests/packer/on_system " + scratch.path + " " + system + " " + what);
  }
  [[nodiscard]] std::string calls() const { return do_shell("cat " + scratch.path + "/calls"); }
};
const std::string enabled = "systemctl enable docker.service dualdeployd.socket dualdeployd.service";

TEST(Bake, BootstrapsCentOs7FromItsVault) {
  const Played centos{.scratch = {}, .system = "centos 7"};
  const std::string bootstrap = "BAKE_RPMS=" + rpm_directory() + " " + packer_directory + "/bootstrap.sh ";
  const std::string repository = R"([base]
mirrorlist=http://mirrorlist.centos.org/?release=$releasever&arch=$basearch&repo=os
#baseurl=http://mirror.centos.org/centos/$releasever/os/$basearch/
[mine]
baseurl=http://repo.example/centos/$releasever/
)";
  EXPECT_EQ(centos.run("bash -c " + quoted("echo " + quoted(repository) + " >/etc/yum.repos.d/CentOS-Base.repo")).status, 0);
  const Outcome first = centos.run(bootstrap + "telnet");
  EXPECT_EQ(first.status, 0) << first.output;
  EXPECT_THAT(centos.calls(), MatchesRegex("yum -y install docker git conntrack-tools telnet\n"
                                           "yum -y install .*/dualdeploy-[0-9][^ ]*\\.rpm\n" + enabled));
  EXPECT_EQ(do_shell("cat " + centos.scratch.path + "/etc/yum.repos.d/CentOS-Base.repo"), R"([base]
#mirrorlist=http://mirrorlist.centos.org/?release=$releasever&arch=$basearch&repo=os
baseurl=http://vault.centos.org/7.9.2009/os/$basearch/
[mine]
baseurl=http://repo.example/centos/$releasever/)");
  // Again: nothing is left to do. Another build of the same version is installed in place of the first.
  EXPECT_EQ(centos.run(bootstrap).status, 0);
  EXPECT_EQ(centos.calls(), enabled);
  do_shell("sed -i 's/^\\(dualdeploy .*\\) .*/\\1 another/' " + centos.scratch.path + "/installed");
  EXPECT_EQ(centos.run(bootstrap).status, 0);
  EXPECT_THAT(centos.calls(), HasSubstr("yum -y reinstall "));
}

TEST(Bake, BootstrapsAmazonLinuxFromARepository) {
  const Played amazon{.scratch = {}, .system = "amzn 2023"};
  const std::string bootstrap = packer_directory + "/bootstrap.sh";
  const std::string signed_by = "BAKE_REPOSITORY=http://repo.example/x BAKE_REPOSITORY_KEY=https://repo.example/key ";
  const Outcome first = amazon.run(signed_by + bootstrap);
  EXPECT_EQ(first.status, 0) << first.output;
  EXPECT_EQ(amazon.calls(), "yum -y install docker git nftables conntrack-tools\n"
                            "yum -y --enablerepo=dualdeploy-bake install dualdeploy\n" + enabled);
  EXPECT_THAT(do_shell("cat " + amazon.scratch.path + "/etc/yum.repos.d/dualdeploy-bake.repo"),
              HasSubstr("baseurl=http://repo.example/x\nenabled=0\ngpgcheck=1\ngpgkey=https://repo.example/key"));
  EXPECT_THAT(amazon.run("BAKE_REPOSITORY=http://repo.example/x " + bootstrap).output, HasSubstr("nothing vouches for"));
  EXPECT_THAT(amazon.run(bootstrap).output, HasSubstr("there is no RPM file of dualdeploy in /var/tmp/dualdeploy-bake"));
  const Played ubuntu{.scratch = {}, .system = "ubuntu 22.04"};
  EXPECT_THAT(ubuntu.run(bootstrap).output,
              HasSubstr("ubuntu-22.04 is neither CentOS 7 nor Amazon Linux 2023 nor Debian 12"));
}

// Systems Manager checks a parameter by its pattern and then writes it into the text of the command.
class SsmDocument {
 public:
  [[nodiscard]] bool takes(const std::string& parameter, const std::string& value) const {
    const std::string pattern(document_.at("parameters").at(parameter).at("allowedPattern").as_string());
    return std::regex_search(value, std::regex(pattern));
  }
  /// What dualctl is called with, an argument a line.
  [[nodiscard]] std::string calls(std::map<std::string, std::string> values) const {
    std::string script;
    for (const json::value& line : document_.at("mainSteps").at(0).at("inputs").at("runCommand").as_array())
      script += std::string(line.as_string()) + "\n";
    for (const auto& [name, parameter] : document_.at("parameters").as_object()) {
      if (const json::value* preset = parameter.as_object().if_contains("default")) values.emplace(name, preset->as_string());
      EXPECT_TRUE(takes(name, values.at(name)));
      const std::string place = "{{ " + std::string(name) + " }}";
      for (auto at = script.find(place); at != std::string::npos; at = script.find(place))
        script.replace(at, place.size(), values.at(name));
    }
    const std::string command = "/usr/bin/dualctl";
    script.replace(script.find(command), command.size(), "printf '%s\\n'");
    script.replace(script.find("exec "), 5, "");
    return do_shell("sh -c " + testing::quoted(script));  // Not std::quoted.
  }

 private:
  json::value document_ = json_of(DD_SOURCE_DIR "/packaging/aws/dualdeploy.ssm.json");
};

TEST(Bake, SsmDocumentLetsThroughWordsAlone) {
  const SsmDocument document;
  EXPECT_EQ(document.calls({{"Service", "shop"}}), "status\nshop");
  EXPECT_EQ(document.calls({{"Service", "shop"}, {"Action", "revert"}}), "revert\nshop\n--reason\nby SSM");
  EXPECT_EQ(document.calls({{"Service", "shop"}, {"Action", "flip"}, {"Percent", "5"}, {"ConfirmWithin", "10m"}, {"Reason", "a canary"}}),
            "flip\nshop\ncontainer\n--percent\n5\n--wait\n--timeout\n60s\n--reason\na canary\n--confirm-within\n10m");
  for (const char* parameter : {"Action", "Service", "Side", "Percent", "ConfirmWithin", "Reason"}) {
    for (const char* bad : {"", "'", "a'b", "$(reboot)", "`reboot`", "a;b", "a\nb", "a|b", "-f", "{{ Side }}", "a\\b"})
      EXPECT_FALSE(document.takes(parameter, bad)) << parameter << ": " << bad;
  }
  EXPECT_FALSE(document.takes("Percent", "101"));
  EXPECT_FALSE(document.takes("Side", "rpms"));
}

/// A machine as it comes from the shelf: ssh, sudo and a user, and nothing of ours.
class BareInstance : public Instance {
 public:
  explicit BareInstance(const std::string& public_key) : Instance("bake", Agent::bare) {
    push(public_key, "/root/key.pub");
    do_inside(
        "set -e; echo 127.0.1.1 $(hostname) >>/etc/hosts; useradd -m -s /bin/bash admin;"
        "install -d -m 700 -o admin /home/admin/.ssh;"
        "install -m 600 -o admin /root/key.pub /home/admin/.ssh/authorized_keys; rm /root/key.pub;"
        "echo 'admin ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/admin;"
        "ssh-keygen -A; systemctl unmask ssh.service; systemctl enable --now ssh.service");
  }
  /// A command in the root directory of the instance's disk, while it is off.
  static std::string on_disk(const std::string& command) {
    const std::string state = "/run/dualdeploy-test/bake";
    return do_shell("disk=$(cat " + state + "/disk) base=$(cat " + state +
                    "/base); export disk base; unshare --mount sh -ec " +
                    quoted("[ ! -d $disk/upper ] || mount -t overlay -o ro,lowerdir=$disk/upper:$base overlay $disk/root; "
                           "mount --bind $disk/docker $disk/root/var/lib/docker; cd $disk/root; " + command));
  }
};

/// What Packer and the instance are given: RPMs, a git repository served on the client host, a key.
struct Materials {
  Scratch scratch;
  std::string commit = do_shell(DD_SOURCE_DIR "/tests/packer/materials " + scratch.path + " " + rpm_directory());
  std::string source = "git://192.0.2.2/service.git";

  void serve(const BareInstance& instance) const {
    instance.do_client("git daemon --detach --reuseaddr --listen=192.0.2.2 --export-all --base-path=" + scratch.path +
                       " " + scratch.path);
  }
  [[nodiscard]] std::string build_command() const {
    return "env HOME=" + scratch.path + " " + packer + "build -color=false -var host=192.0.2.1 -var username=admin" +
           " -var private_key_file=" + scratch.path + "/key -var rpm_directory=" + scratch.path + "/rpms" +
           " -var service_source=" + source + " -var service_context=image -var service_revision=" + commit + " " +
           packer_directory + "/local.json";
  }
};

void expect_sealed(const BareInstance& instance, const std::string& revision) {
  EXPECT_EQ(instance.on_disk("wc -c <etc/machine-id"), "0");
  EXPECT_EQ(instance.on_disk("find etc/ssh -name 'ssh_host_*'"), "");
  EXPECT_EQ(instance.on_disk("find home root -name authorized_keys -size +0"), "");
  EXPECT_EQ(instance.on_disk("ls -A var/lib/docker/containers"), "");
  EXPECT_EQ(instance.on_disk("find var/tmp -name 'dualdeploy-b*'"), "");
  EXPECT_THAT(instance.on_disk("cat var/lib/docker/image/*/repositories.json"), HasSubstr("dualdeploy-sample:latest"));
  const std::string manifest = instance.on_disk("cat var/lib/dualdeploy/image.json");
  boost::system::error_code error;
  json::parse(manifest, error);
  EXPECT_FALSE(error) << manifest;
  EXPECT_THAT(manifest, HasSubstr(revision));
}

/// The image's first instance: as it always was, and the container ready.
void expect_dual(const BareInstance& instance) {
  EXPECT_THAT(instance.do_inside("cat /etc/machine-id"), MatchesRegex("[0-9a-f]{32}\n"));
  EXPECT_EQ(instance.do_client("curl -s --retry 10 --retry-connrefused http://192.0.2.1/"), "hello from rpm\n");
  instance.do_inside("dualctl flip sample container --wait --timeout 60s");
  EXPECT_EQ(instance.do_client("curl -s http://192.0.2.1/"), "hello from container\n");
}

/// Each script again, by hand: what is done stays done, and what cannot be right is refused.
void expect_scripts_to_know(const BareInstance& instance, const Materials& materials) {
  do_shell("cd " + packer_directory + " && tar -c *.sh -C " + materials.scratch.path + "/rpms . | " DD_SOURCE_DIR
           "/tests/instance/instance exec bake -- sh -c 'mkdir -p /root/b && tar -xC /root/b'");
  const std::string environment = "BAKE_RPMS=/root/b SERVICE_CONTEXT=image SERVICE_SOURCE=" + materials.source;
  const auto run = [&](const std::string& what) {
    return instance.inside("cd /root/b; export " + environment + "; " + what);
  };
  for (const char* script : {"./bootstrap.sh", "./install_service_rpm.sh", "./build_service_container.sh"}) {
    const Outcome outcome = run(script);
    EXPECT_EQ(outcome.status, 0) << script << "\n" << outcome.output;
  }
  const auto refused = [&](const std::string& what) {
    const Outcome outcome = run(what);
    EXPECT_NE(outcome.status, 0) << what;
    return outcome.output;
  };
  EXPECT_THAT(refused("SERVICE_REVISION=main ./build_service_container.sh"),
              ContainsRegex("main is a branch, which moves; give its commit, now [0-9a-f]{40}"));
  EXPECT_THAT(refused("SERVICE_REVISION=main SERVICE_MOVING=yes ./build_service_container.sh"),
              AllOf(HasSubstr("main is commit "), HasSubstr("the two sides would not be the same")));
  EXPECT_THAT(refused("SERVICE_REVISION=v9 ./build_service_container.sh"), HasSubstr("has no commit or tag v9"));
  EXPECT_THAT(refused("SERVICE_SOURCE=git://192.0.2.2/other.git ./build_service_container.sh"),
              HasSubstr("cannot fetch git://192.0.2.2/other.git"));
  EXPECT_THAT(refused("SERVICE_SOURCE=/etc ./build_service_container.sh"),
              HasSubstr("/etc is not of the package dualdeploy-sample"));
  EXPECT_THAT(refused("SERVICE_PACKAGE=other ./install_service_rpm.sh"),
              HasSubstr("there is no RPM file of other in /root/b"));
  EXPECT_THAT(refused("BAKE_REPOSITORY=https://192.0.2.2/ ./bootstrap.sh"), HasSubstr("no use for a yum repository"));
  // The service's own package brings a source as well.
  const Outcome packaged = run("unset SERVICE_CONTEXT; SERVICE_SOURCE=/usr/share/dualdeploy-sample ./build_service_container.sh");
  EXPECT_EQ(packaged.status, 0) << packaged.output;
  EXPECT_THAT(packaged.output,
              HasSubstr("revision " + materials.commit.substr(0, 12) + ", source dualdeploy-sample-"));
}

TEST(Bake, ABareImageBecomesASealedOne) {
  const Materials materials;
  const BareInstance instance(materials.scratch.path + "/key.pub");
  materials.serve(instance);
  const std::string which_boot = "cat /proc/sys/kernel/random/boot_id";
  const std::string before = instance.do_inside(which_boot);
  const std::string log = instance.do_client(materials.build_command());
  EXPECT_THAT(log, HasSubstr("is commit " + materials.commit));
  EXPECT_NE(instance.do_inside(which_boot), before) << "it did not reboot\n" << log;
  instance.stop();
  expect_sealed(instance, materials.commit.substr(0, 12));
  instance.start();
  expect_dual(instance);
  expect_scripts_to_know(instance, materials);
}

}  // namespace
}  // namespace dualdeploy::testing
