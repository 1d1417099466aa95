#include "instance/support/kernel.hpp"

#include <cstdlib>
#include <string_view>

namespace dualdeploy::testing {
namespace {

const Kernel nftables{
    .backend = "nftables",
    .prepare = "true",
    .list = "nft list table inet dualdeploy",
    .list_all = "nft list ruleset",
    .list_others = "nft list table inet mine; nft list table ip nat; nft list table ip filter",
    .redirect = "dnat to",
    .of_sample = "chain service-sample",
    .held = "nft list set inet dualdeploy held | grep -q elements",
    .flush = "nft flush ruleset",
    .vandalism = {"nft flush ruleset", "nft delete element inet dualdeploy redirects { tcp . 80 }",
                  "nft flush chain inet dualdeploy guard"},
    .whole = "nft list table inet dualdeploy | grep -q 'drop' && nft list map inet dualdeploy redirects | grep -q 'tcp . 80'",
    .intruder = "nft add table inet mine; nft 'add chain inet mine c { type filter hook input priority 0; }';"
                "nft add rule inet mine c tcp dport 4711 counter drop",
    .diversion = "nft 'table ip theirs { chain c { type nat hook output priority -120; tcp dport 80 meta mark != 0xdd dnat to :9090; }; }'",
    .way_out = "nft delete table inet dualdeploy",
    .drift_gone = "our table was gone; put back [by nft",
    .commit = "nft -f /root/transaction",
    .ten_percent = "numgen random mod 100 < 10 goto container-sample"};

const std::string each_table = "for f in iptables ip6tables; do for t in nat filter; do ";
const std::string end_each = "; done; done";

const Kernel iptables{
    .backend = "iptables",
    // As on CentOS 7: Docker's rules are iptables' own too, and there are none of nftables.
    .prepare = "update-alternatives --set iptables /usr/sbin/iptables-legacy >/dev/null && "
               "update-alternatives --set ip6tables /usr/sbin/ip6tables-legacy >/dev/null && systemctl restart docker && nft flush ruleset",
    .list = "(iptables-save; ip6tables-save) | grep '^-A.*dualdeploy-'",
    .list_all = "(iptables-save; ip6tables-save) | grep -v '^#' | sed 's/\\[[0-9:]*\\]//'",
    .list_others = "(iptables-save; ip6tables-save) | grep -v -e '^#' -e dualdeploy- | sed 's/\\[[0-9:]*\\]//'",
    .redirect = "DNAT --to-destination",
    .of_sample = "-A dualdeploy-s-sample",
    .held = "iptables-save | grep -q -e '-A dualdeploy-k-'",
    .flush = each_table + "$f -t $t -F" + end_each,
    .vandalism = {each_table + "$f -t $t -F" + end_each, "iptables -t nat -F PREROUTING", "iptables -t nat -F dualdeploy-s-sample",
                  "printf '*nat\\n:PREROUTING ACCEPT\\nCOMMIT\\n*filter\\n:INPUT ACCEPT\\nCOMMIT\\n' | iptables-restore",
                  // As firewalld reloads on CentOS 7: everything of everybody gone, chains too.
                  each_table + "$f -t $t -F; $f -t $t -X" + end_each, "ip6tables -F dualdeploy-in",
                  // Containers live on, and Docker writes its rules anew.
                  "mkdir -p /etc/docker && echo '{\"live-restore\": true}' >/etc/docker/daemon.json && systemctl reload docker && systemctl restart docker"},
    .whole = "iptables-save -t filter | grep -q -e '-A dualdeploy-in .* -j DROP' && iptables-save -t nat | grep -q -e '-A dualdeploy-s-sample .*time' && "
             "ip6tables-save -t filter | grep -q -e '-A dualdeploy-in .* -j DROP' && ip6tables-save -t nat | grep -q -e '-A dualdeploy-s-sample .*time'",
    .intruder = "iptables -N mine; iptables -A mine -p tcp --dport 4711 -j DROP; iptables -A INPUT -j mine",
    // One in iptables' own chains would find ours put before it again.
    .diversion = nftables.diversion,
    .way_out = "for f in iptables ip6tables; do $f-save | grep -v dualdeploy- | $f-restore; done",
    .drift_gone = "our table was gone; put back [by somebody",
    .commit = "sed -n '/^# iptables/,/^# ip6tables/p' /root/transaction | iptables-restore --noflush && "
              "sed -n '/^# ip6tables/,$p' /root/transaction | ip6tables-restore --noflush",
    .ten_percent = "--probability 0.1"};

}  // namespace

const Kernel& kernel() {
  const char* wanted = std::getenv("DUALDEPLOY_TEST_BACKEND");
  return wanted != nullptr && std::string_view(wanted) == "iptables" ? iptables : nftables;
}

}  // namespace dualdeploy::testing
