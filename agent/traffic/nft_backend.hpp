#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <memory>

#include "traffic/backend.hpp"

namespace dualdeploy::traffic {

/// nftables by way of the nft program (nft(8)), one process a transaction. Foreign changes are noticed by the kernel's
/// generation messages (NFNLGRP_NFTABLES, NFT_MSG_NEWGEN in linux/netfilter/nf_tables.h).
[[nodiscard]] std::unique_ptr<Backend> make_nft_backend(boost::asio::any_io_executor executor);

}  // namespace dualdeploy::traffic
