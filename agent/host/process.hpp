#pragma once

// A child's end is told by SIGCHLD. Its pidfd would need Linux 5.3, which CentOS 7 is far from, and a free descriptor: where
// pidfd_open(2) fails, 1.81 goes on with -1 and throws behind the fork.
#define BOOST_PROCESS_V2_DISABLE_PIDFD_OPEN

// Boost.Process v2 of 1.81 takes these for granted where it uses std::filesystem.
#include <boost/optional.hpp>
#include <boost/type_traits/remove_pointer.hpp>

#include <boost/process/v2.hpp>
