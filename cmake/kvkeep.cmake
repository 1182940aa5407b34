# One folder under src/ is one layer: a static library of its sources and one test program of its
# *_test.cc files, both found by glob so that no list can forget a file.
#   kvkeep_layer(NAME DEPENDS layer... LIBS library...)
# Sources named *_scalar.cc, *_avx2.cc, *_avx512.cc and *_avx512vnni.cc get the flags of that
# instruction set.
include(GoogleTest)

function(kvkeep_flags target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow -Wconversion
                         $<$<BOOL:${KVKEEP_WERROR}>:-Werror>)
endfunction()

# With KVKEEP_PCH large headers are read once a target: for builds from scratch.
function(kvkeep_precompile target)
  if(KVKEEP_PCH)
    target_precompile_headers(${target} PRIVATE ${ARGN})
  endif()
endfunction()

# Tests and tools wait for the compiler, not for their loops.
function(kvkeep_glue target)
  target_compile_options(${target} PRIVATE ${KVKEEP_GLUE_FLAGS})
endfunction()

function(kvkeep_test target)
  add_executable(${target} ${ARGN})
  kvkeep_flags(${target})
  kvkeep_glue(${target})
  target_compile_definitions(${target} PRIVATE KVKEEP_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(${target} PRIVATE GTest::gtest GTest::gtest_main)
  kvkeep_precompile(${target} <gtest/gtest.h> <string> <vector>)
  gtest_discover_tests(${target} TEST_PREFIX ${target}. PROPERTIES LABELS fast
                       WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} DISCOVERY_TIMEOUT 60)
endfunction()

# Kernels: no contraction to FMA but where the source says so, so that sums do not depend on the
# compiler's mood; the scalar ones stay scalar, to be a true reference.
function(kvkeep_isa_flags sources_variable)
  set(sources ${${sources_variable}})
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(FILTER sources EXCLUDE REGEX "_avx(2|512|512vnni)\\.cc$")
  endif()
  # Short loops stay loops: as "rep movs" copies of 16 floats took a sixth of score_block.
  set(common -ffp-contract=off -fno-tree-loop-distribute-patterns)
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    set(common -ffp-contract=off)
  endif()
  set(avx2 -mavx2 -mfma -mf16c -mpopcnt)
  # gcc 12 takes the undefined lanes of its own AVX-512 intrinsics for uninitialized variables.
  set(avx512 ${avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512
             -Wno-uninitialized -Wno-maybe-uninitialized)
  foreach(source IN LISTS sources)
    if(source MATCHES "_scalar\\.cc$")
      set(flags ${common} -fno-tree-vectorize)
    elseif(source MATCHES "_avx2\\.cc$")
      set(flags ${common} ${avx2})
    elseif(source MATCHES "_avx512\\.cc$")
      set(flags ${common} ${avx512})
    elseif(source MATCHES "_avx512vnni\\.cc$")
      set(flags ${common} ${avx512} -mavx512vnni -mavx512vbmi -mgfni)
    else()
      continue()
    endif()
    # -O3 unrolls the short loops over registers. KVKEEP_KERNEL_FLAGS come after.
    list(APPEND flags $<$<CONFIG:Release>:-O3> ${KVKEEP_KERNEL_FLAGS})
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${flags}")
  endforeach()
  set(${sources_variable} ${sources} PARENT_SCOPE)
endfunction()

function(kvkeep_layer name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LIBS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS src/${name}/*.cc)
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  kvkeep_isa_flags(sources)
  add_library(kvkeep_${name} STATIC ${sources})
  kvkeep_flags(kvkeep_${name})
  target_include_directories(kvkeep_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src
                             ${PROJECT_SOURCE_DIR}/include)
  list(TRANSFORM ARG_DEPENDS PREPEND kvkeep_)
  target_link_libraries(kvkeep_${name} PUBLIC ${ARG_DEPENDS} ${ARG_LIBS})
  if(KVKEEP_TESTS AND tests)
    kvkeep_test(${name}_tests ${tests})
    target_link_libraries(${name}_tests PRIVATE kvkeep_${name})
  endif()
endfunction()

# Text files as std::string_view constants that a header of the layer declares:
#   kvkeep_embed(LAYER HEADER constant file...)      a file that is NOTFOUND becomes an empty text
function(kvkeep_embed layer header)
  set(output ${PROJECT_BINARY_DIR}/embedded_${layer}.cc)
  set(files ${ARGN})
  set(entries "")
  set(inputs "")
  while(files)
    list(POP_FRONT files name file)
    if(file MATCHES "NOTFOUND$")
      set(file "")
    else()
      cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY ${PROJECT_SOURCE_DIR})
      list(APPEND inputs ${file})
    endif()
    list(APPEND entries "${name}=${file}")
  endwhile()
  list(JOIN entries "|" entries)
  set(script ${PROJECT_SOURCE_DIR}/cmake/embed.cmake)
  add_custom_command(OUTPUT ${output} DEPENDS ${inputs} ${script} VERBATIM
                     COMMENT "Embedding the files of ${header}"
                     COMMAND ${CMAKE_COMMAND} -D OUTPUT=${output} -D HEADER=${header}
                             -D "FILES=${entries}" -P ${script})
  target_sources(kvkeep_${layer} PRIVATE ${output})
endfunction()
