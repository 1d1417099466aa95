# For glibc 2.17 (CentOS 7) with the compiler and libraries of packaging/el7/fetch.
execute_process(COMMAND ${CMAKE_CURRENT_LIST_DIR}/fetch OUTPUT_VARIABLE el7 OUTPUT_STRIP_TRAILING_WHITESPACE
                COMMAND_ERROR_IS_FATAL ANY)
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_C_COMPILER ${el7}/bin/cc)
set(CMAKE_CXX_COMPILER ${el7}/bin/c++)
set(CMAKE_AR ${el7}/bin/ar)
set(CMAKE_RANLIB ${el7}/bin/ranlib)
set(CMAKE_FIND_ROOT_PATH ${el7})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
foreach(kind LIBRARY INCLUDE PACKAGE)
  set(CMAKE_FIND_ROOT_PATH_MODE_${kind} ONLY)
endforeach()
# Nothing of the place where it is built is in what is built.
set(CMAKE_CXX_FLAGS_INIT "-ffile-prefix-map=${el7}=/el7 -ffile-prefix-map=${CMAKE_SOURCE_DIR}=/dualdeploy -ffile-prefix-map=${CMAKE_BINARY_DIR}=/build")
# No search path to the build's stand-in for libsystemd either, where it would be taken for the real one.
set(CMAKE_SKIP_RPATH ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXE_LINKER_FLAGS_INIT "-pie -Wl,-z,relro,-z,now")
# zig c++ makes no precompiled headers.
set(CMAKE_DISABLE_PRECOMPILE_HEADERS ON)
set(DUALDEPLOY_BUNDLED ${el7})
