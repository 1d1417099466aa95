#pragma once

// Boost.Process v2 of 1.81 takes these for granted where it uses std::filesystem.
#include <boost/optional.hpp>
#include <boost/type_traits/remove_pointer.hpp>

#include <boost/process/v2.hpp>
