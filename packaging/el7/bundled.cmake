# The libraries of packaging/el7/fetch under the names that find_package() gives them elsewhere.
find_package(Threads REQUIRED)
set(bundled ${DUALDEPLOY_BUNDLED})

add_library(bundled_headers INTERFACE)
target_include_directories(bundled_headers SYSTEM INTERFACE ${bundled}/include)
# Boost keeps in each error where it arose. Clang names lambdas there by the whole path of their source, which no
# -ffile-prefix-map changes: the programs would differ with the directory they are built in.
target_compile_definitions(bundled_headers INTERFACE BOOST_DISABLE_CURRENT_LOCATION)
foreach(name Boost::headers CLI11::CLI11 spdlog::spdlog)
  add_library(${name} ALIAS bundled_headers)
endforeach()

file(WRITE ${CMAKE_BINARY_DIR}/boost_json.cpp "#include <boost/json/src.hpp>\n")
add_library(bundled_json STATIC ${CMAKE_BINARY_DIR}/boost_json.cpp)
target_link_libraries(bundled_json PUBLIC bundled_headers)
add_library(Boost::json ALIAS bundled_json)

file(GLOB yaml_sources ${bundled}/yaml-cpp/src/*.cpp)
add_library(bundled_yaml STATIC ${yaml_sources})
target_include_directories(bundled_yaml SYSTEM PUBLIC ${bundled}/yaml-cpp/include)
target_compile_definitions(bundled_yaml PUBLIC YAML_CPP_STATIC_DEFINE)
set(YAML_CPP_STATIC bundled_yaml)

add_library(bundled_c STATIC ${CMAKE_CURRENT_LIST_DIR}/libc.cpp)

add_library(bundled_systemd INTERFACE)
target_link_libraries(bundled_systemd INTERFACE bundled_headers bundled_c ${bundled}/lib/libsystemd.so)
add_library(PkgConfig::SYSTEMD ALIAS bundled_systemd)
