// The harmless file that every scanner knows as bad: https://www.eicar.org/download-anti-malware-testfile/

rule EICAR_Test_File
{
    meta:
        description = "The EICAR test file: the 68 bytes, and white space up to 128"
        author = "Outrigger"
        license = "Apache-2.0"
    strings:
        $eicar = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
    condition:
        filesize <= 128 and $eicar at 0
}
