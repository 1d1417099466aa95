// The compiled parts of Asio, Beast and Process, once for the whole program.
#include <boost/asio/impl/src.hpp>
#include <boost/beast/src.hpp>
#include "host/process.hpp"
#include <boost/process/v2/src.hpp>
