#include "helper/server.hpp"

int main() { return dualdeploy::helper::run(); }
