# The compiler flags of a tier, from tiers.def: -mFEATURE for each feature that the tier needs.

# Rising, as in isa.hpp: a tier needs all of the ones before it, except avxvnni.
set(tiers avx2 avxvnni avx512 avx512vnni amx)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/tiers.def)
file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/tiers.def features REGEX "^FEATURE\\(")
set(flags "")
foreach(tier ${tiers})
  foreach(feature ${features})
    if(feature MATCHES "^FEATURE\\(([-a-z0-9]+), *${tier},")
      list(APPEND flags -m${CMAKE_MATCH_1})
    endif()
  endforeach()
  set(LMHT_FLAGS_${tier} ${flags})
  if(tier STREQUAL "avxvnni")
    set(flags ${LMHT_FLAGS_avx2})
  endif()
endforeach()

# The tiers of AArch64 rise, too: -march=armv8.2-a+FEATURE+...
file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/tiers.def features REGEX "^ARM_FEATURE\\(")
set(arm_tiers neon dotprod i8mm)
set(flags "")
foreach(tier ${arm_tiers})
  foreach(feature ${features})
    if(feature MATCHES "^ARM_FEATURE\\(([a-z0-9]+), *${tier},")
      if(NOT flags)
        set(flags -march=armv8.2-a)
      endif()
      string(APPEND flags +${CMAKE_MATCH_1})
    endif()
  endforeach()
  set(LMHT_FLAGS_${tier} ${flags})
endforeach()

# lmht_tier(CORE TIER SOURCE [OPTION...]): adds the translation unit of one tier to lmht_CORE.
# Only the tiers of the processor's family are built, and the generic tier, which has no flags.
function(lmht_tier core tier source)
  set(family "x86_64|AMD64")
  if(tier IN_LIST arm_tiers)
    set(family "aarch64|arm64|ARM64")
  endif()
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "${family}")
    target_sources(lmht_${core} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/${source})
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
      "${LMHT_FLAGS_${tier}};-DLMHT_TIER=${tier};${ARGN}")
  endif()
endfunction()
